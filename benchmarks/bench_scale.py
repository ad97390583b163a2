"""Scale: ever more images through split, shard and an epoch of streamed training: seconds, peak memory, exponent.

The work is that of the stages, in a process of its own each, with three quarters of the images for training and an
eighth for validation. Seconds are without loading Python and TensorFlow; those of the epoch include tracing and
validation. Peak memory is all of the process, libraries too. The exponent is the slope of log seconds over log images:
1 is linear.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from benchmarks.contest import Figures, Goal, print_conditions, print_goals, print_table, run_apart
from benchmarks.workload import ROOT, SIDE_PX, SIZE, hush, load_project, train_variant, write_archive
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params

Results = dict[str, list[Figures]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[2_000, 8_000, 25_000], help="images, ascending")
    args = parser.parse_args()
    works: dict[str, Callable[[Path], Figures]] = {
        "split": split_archive, "shard": write_shards, "epoch, streamed": train_epoch
    }  # fmt: skip
    results: Results = {name: [] for name in works}
    for n in args.counts:
        with tempfile.TemporaryDirectory() as temporary:
            lay_out_project(Path(temporary), n)
            for name, work in works.items():
                results[name].append(run_apart(work, folder=Path(temporary)))
    data = f"JPEG files of {SIDE_PX} px in a zip; {SIZE} px in raw shards, streamed"
    print_conditions("Scale", data=data, precision=load_project().train.precision)
    report(args.counts, results)


def lay_out_project(folder: Path, n: int) -> None:
    """A folder with an archive of n images and a params.yaml that splits them."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["split"] |= {"train": None, "validation": n // 16, "test": n // 16}  # of each class
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "data").mkdir()
    write_archive(folder / "data/raw.zip", n)


def split_archive(folder: Path) -> Figures:
    """The split stage's work."""
    from cvd.data.intake import placement

    data = folder / "data"
    sizes = load_params(folder / "params.yaml").split.model_dump()
    start = time.perf_counter()
    with hush():
        placement.split_archive(
            data / "raw.zip",
            images=data / "images",
            checksums=data / "images.sha256",
            manifest=data / "manifest.csv",
            quarantine=data / "quarantine.csv",
            masks=data / "masks.zip",
            summary=data / "data.json",
            sheets=data / "sheets",
            **sizes,
        )
    return {"seconds": time.perf_counter() - start}


def write_shards(folder: Path) -> Figures:
    """The shard stage's work."""
    from cvd.data.examples import shard_writer
    from cvd.data.images.manifest import read_manifest

    data, params = folder / "data", load_params(folder / "params.yaml")
    size_px, encoding, size_mb = params.image.size_px, params.shard.encoding, params.shard.size_mb
    start = time.perf_counter()
    with replace_folder(data / "shards") as shards:
        manifest = read_manifest(data / "manifest.csv")
        shard_writer.write_shards(
            data / "images", manifest, shards, size_px=size_px, encoding=encoding, size_mb=size_mb
        )
    return {"seconds": time.perf_counter() - start}


def train_epoch(folder: Path) -> Figures:
    """An epoch of `tfrecord`, every image read from the shards when it is wanted."""
    import cvd.training.fitting  # noqa: F401, so that TensorFlow is loaded
    from cvd.data.examples.reading import read_shards

    start = time.perf_counter()
    train, validation = (read_shards(folder / "data/shards", split) for split in ("train", "validation"))
    train_variant("tfrecord", train, validation, epochs=1)
    return {"seconds": time.perf_counter() - start}


def report(counts: list[int], results: Results) -> None:
    """Prints seconds, memory, exponents and the goals."""
    rows = []
    for name, found in results.items():
        for n, figures in zip(counts, found, strict=True):
            memory = f"{figures['megabytes']:,.0f} MB", f"{figures['megabytes'] / found[0]['megabytes']:.2f}x"
            rows.append([name, f"{n:,}", f"{figures['seconds']:.1f}", f"{n / figures['seconds']:,.0f}", *memory, ""])
        if len(counts) > 1:
            slope = np.polyfit(np.log(counts), np.log([figures["seconds"] for figures in found]), 1)[0]
            rows[-1][-1] = f"{slope:.2f}"
    print_table(["", "images", "seconds", "images/s", "peak memory", "of the first", "exponent"], rows)
    goals = [
        Goal(f"memory of {name}, {counts[-1]:,} images vs {counts[0]:,}", 1.5,
             found[-1]["megabytes"] / found[0]["megabytes"], is_most=True)
        for name, found in results.items()
    ]  # fmt: skip
    largest = results["split"][-1]
    goals.append(Goal("split, for each 25,000 images", 60, largest["seconds"] * 25_000 / counts[-1], " s", True))
    goals.append(Goal(f"split, peak memory at {counts[-1]:,} images", 1024, largest["megabytes"], " MB", True))
    print_goals(goals)


if __name__ == "__main__":
    main()
