"""Two trainings of `baseline` at once against one after the other, by the threads of each.

Each training has a process of its own. The rate counts the training images of whole epochs, validation and bookkeeping
included, of all trainings together, while each is past its first epoch and none is done. With as many threads as alone
a training ends in the same bits; with fewer its last bits differ.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.contest import Goal, Series, divide, print_conditions, print_goals, print_rates
from benchmarks.workload import BATCH, SIDE_PX, SIZE, hold, load_project, train_variant, write_folder
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.threads import count_cores

ALONE, HALVED, WHOLE = "one after the other", "two at once, half the threads each", "two at once, all threads each"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500, help="training images; half as many are for validation")
    parser.add_argument("--epochs", type=int, default=4, help="of each training, the cold one included")
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    if args.epochs < 2 or args.repeats < 1:
        parser.error("--epochs must be at least 2 and --repeats at least 1")
    n = count_cores()
    cases = {ALONE: [n], HALVED: [max(1, n // 2)] * 2, WHOLE: [n] * 2}
    rates: Series = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as temporary:
        manifest = write_folder(Path(temporary), {"train": args.images, "validation": args.images // 2})
        for _ in range(args.repeats):
            for name, threads in cases.items():
                ends = train_together(threads, Path(temporary), manifest, args.epochs)
                rates[name].append(measure_rate(ends, args.images))
    data = (
        f"{args.images:,} training and {args.images // 2:,} validation JPEG files of {SIDE_PX} px, batches of {BATCH} "
        f"at {SIZE} px; {args.repeats} x {args.epochs} epochs; alone on {n} threads"
    )
    print_conditions("Two trainings at once", data=data, precision=load_project().train.precision)
    print_rates(rates, peers=[ALONE])
    print_goals([Goal(f"{name} vs {ALONE}", 1, divide(rates[name], rates[ALONE])) for name in (HALVED, WHOLE)])


def train_together(threads: Sequence[int], folder: Path, manifest: pd.DataFrame, epochs: int) -> list[list[float]]:
    """Run a training with each of `threads` at the same time; return the ends of each one's epochs, in seconds."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(threads), context, start_tensorflow) as pool:
        trainings = [pool.submit(train, folder, manifest, epochs, n) for n in threads]
        return [training.result() for training in trainings]


def train(folder: Path, manifest: pd.DataFrame, epochs: int, threads: int) -> list[float]:
    """Train `baseline` as its stage does; return the ends of its epochs by the system's clock, in seconds."""
    from cvd.data.examples.reading import read_files

    splits = [hold(read_files(folder, manifest, split, size_px=SIZE)) for split in ("train", "validation")]
    ends: list[float] = []
    train_variant(
        "baseline", *splits, epochs=epochs, n_threads=threads, on_epoch=lambda *told: ends.append(time.monotonic())
    )
    return ends


def measure_rate(ends: Sequence[Sequence[float]], n_images: int) -> float:
    """Measure images per second of all trainings together, while all are past their first epoch and none is done."""
    begin, stop = max(times[0] for times in ends), min(times[-1] for times in ends)
    n_epochs = sum(np.diff(np.interp([begin, stop], times, range(len(times))))[0] for times in ends)
    return float(n_epochs * n_images / (stop - begin))


if __name__ == "__main__":
    main()
