"""Drawing, and a training step of `baseline`, by the code of commit de09f72 and by today's, in turn.

Each turn is a process of its own in a copy of that commit, or here. The steps are those of the warm epochs of a short
training. What was asked of both is a share of the time that they took then.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.contest import Goal, Series, divide, format_median, print_conditions, print_goals, print_table
from benchmarks.workload import BATCH, ROOT, SIDE_PX, SIZE, hold, load_project, train_variant, write_folder
from cvd.runtime.project import ask_git

COMMIT = "de09f72"
NOW = "now"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=320, help="to draw, an even number")
    parser.add_argument("--images", type=int, default=400, help="training images, a multiple of the batch size")
    parser.add_argument("--warm", type=int, default=3, help="epochs after the cold one")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--work", choices=WORKS, help="do this once in this process, and print the seconds")
    args = parser.parse_args()
    if args.work:
        print(WORKS[args.work](args))
        return
    if not ask_git("rev-parse", "--verify", "--quiet", f"{COMMIT}^{{commit}}", root=ROOT):
        print(f"\nbefore: not measured, since this repository lacks commit {COMMIT}")
        return
    seconds: dict[str, Series] = {name: {COMMIT: [], NOW: []} for name in WORKS}
    with tempfile.TemporaryDirectory() as temporary:
        unpack(Path(temporary))
        for _ in range(args.repeats):
            for name, series in seconds.items():
                series[COMMIT].append(work_in(Path(temporary), name))
                series[NOW].append(work_in(ROOT, name))
    work = f"{args.pictures} pictures; {args.images} JPEG files of {SIDE_PX} px, batches of {BATCH} at {SIZE} px"
    print_conditions(f"Against commit {COMMIT}", data=work, precision=load_project().train.precision)
    shares = {name: divide(series[NOW], series[COMMIT]) for name, series in seconds.items()}
    rows = []
    for name, series in seconds.items():
        times = (format_median([1000 * value for value in values], 1) for values in series.values())
        rows.append([name, *times, f"{shares[name]:.2f}x"])
    print_table(["milliseconds", COMMIT, NOW, "of it"], rows)
    asked = dict(zip(WORKS, (12 / 25, 30 / 43.7), strict=True))  # seconds for 1,600; milliseconds, on an Intel Xeon
    print_goals([Goal(f"{name} vs {COMMIT}", asked[name], shares[name], is_most=True) for name in WORKS])


def unpack(folder: Path) -> None:
    """Unpack the commit's files into a folder."""
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, check=True, input=archive)


def work_in(tree: Path, name: str) -> float:
    """Measure the seconds of a work by the code in `tree`, in a new process, with this one's arguments."""
    command = [sys.executable, __file__, *sys.argv[1:], "--work", name]
    env = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def draw_pictures(args: argparse.Namespace) -> float:
    """Measure the seconds of a picture, drawn as the download stage does."""
    from cvd.data.drawn import write_drawn_archive

    with tempfile.TemporaryDirectory() as temporary:
        start = time.perf_counter()
        write_drawn_archive(Path(temporary, "raw.zip"), n_per_class=args.pictures // 2, seed=1)
        return (time.perf_counter() - start) / args.pictures


def train_steps(args: argparse.Namespace) -> float:
    """Measure the seconds of a step of `baseline`, trained as its stage does, in the median warm epoch."""
    from cvd.data.examples.reading import read_files
    from cvd.runtime.startup import start_tensorflow

    start_tensorflow()
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        manifest = write_folder(Path(temporary), {"train": args.images, "validation": BATCH})
        splits = [hold(read_files(Path(temporary), manifest, split, size_px=SIZE)) for split in ("train", "validation")]
        told = lambda epoch, metrics: rates.append(metrics["images_per_second"])  # noqa: E731
        train_variant("baseline", *splits, epochs=1 + args.warm, on_epoch=told)
    return BATCH / statistics.median(rates[1:])


WORKS: dict[str, Callable[[argparse.Namespace], float]] = {
    "a drawn picture": draw_pictures,
    "a step of `baseline`": train_steps,
}


if __name__ == "__main__":
    main()
