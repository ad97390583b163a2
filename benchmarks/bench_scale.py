"""Scale: ever more images through the stages that read all of them: seconds, peak memory, exponent.

The work is that of the stages, in a process of its own each, with three quarters of the images for training and an
eighth for validation. Seconds are without loading Python and TensorFlow, but with tracing; those of the epoch include
validation. The backbone's weights are random, and `evaluate` reads image files. Peak memory is all of the process,
libraries too. The exponent is the slope of log seconds over log images: 1 is linear.
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
from cvd.machine import threads
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params

Results = dict[str, list[Figures]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[2_000, 20_000], help="images, ascending")
    args = parser.parse_args()
    works: dict[str, Callable[[Path], Figures]] = {
        "split": split_archive, "shard": write_shards, "features": compute_features,
        "epoch, streamed": train_epoch, "evaluate": evaluate_images,
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
    params = load_params(folder / "params.yaml")
    sizes = params.split.model_dump() | {"classes": params.data.choose_classes()}
    start = time.perf_counter()
    with hush():
        placement.split_archive(
            data / "raw.zip",
            corrections=ROOT / "data/corrections.csv",
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


def compute_features(folder: Path) -> Figures:
    """The features stage's work."""
    from cvd.data.images.manifest import read_manifest
    from cvd.models.networks.backbone import save_backbone
    from cvd.models.networks.features import cache_features
    from cvd.models.pretrained.building import build_backbone

    params, data, backbone = load_params(folder / "params.yaml"), folder / "data", folder / "backbone"
    settings = params.backbone.model_dump() | {"weights": "random"}
    threads.set_threads(params.train.threads)
    model, source = build_backbone(**settings)
    save_backbone(model, backbone, name=settings["name"], weights="random", source=source)
    start = time.perf_counter()
    manifest = read_manifest(data / "manifest.csv")
    cache_features(data / "images", manifest, backbone, data / "features", threads=params.train.threads)
    return {"seconds": time.perf_counter() - start}


def train_epoch(folder: Path) -> Figures:
    """An epoch of `tfrecord`, every image read from the shards when it is wanted."""
    import cvd.training.fitting  # noqa: F401, so that TensorFlow is loaded
    from cvd.data.examples.reading import read_shards

    start = time.perf_counter()
    train, validation = (read_shards(folder / "data/shards", split) for split in ("train", "validation"))
    train_variant("tfrecord", train, validation, epochs=1)
    return {"seconds": time.perf_counter() - start}


def evaluate_images(folder: Path) -> Figures:
    """What the evaluate stage does for a network on image files, here an untrained `baseline`."""
    from cvd.data.images.manifest import read_manifest
    from cvd.models.networks.prediction import predict_splits
    from cvd.models.scratch import choose_builder

    params, data = load_params(folder / "params.yaml"), folder / "data"
    threads.set_threads(params.train.threads)
    model = choose_builder(params.variants["baseline"].model_dump(), size_px=params.image.size_px)()
    start = time.perf_counter()
    with hush():
        predict_splits(model, "files", data / "images", read_manifest(data / "manifest.csv"), share=1)
    return {"seconds": time.perf_counter() - start}


def report(counts: list[int], results: Results) -> None:
    """Prints seconds, memory, exponents and the goals."""
    rows, goals = [], []
    for name, found in results.items():
        for n, figures in zip(counts, found, strict=True):
            memory = f"{figures['megabytes']:,.0f} MB", f"{figures['megabytes'] / found[0]['megabytes']:.2f}x"
            rows.append([name, f"{n:,}", f"{figures['seconds']:.1f}", f"{n / figures['seconds']:,.0f}", *memory, ""])
        if len(counts) > 1:
            slope = np.polyfit(np.log(counts), np.log([figures["seconds"] for figures in found]), 1)[0]
            rows[-1][-1] = f"{slope:.2f}"
            goals.append(Goal(f"exponent of {name}", 1.1, slope, "", is_most=True))
    print_table(["", "images", "seconds", "images/s", "peak memory", "of the first", "exponent"], rows)
    highest = max(found[-1]["megabytes"] for found in results.values())
    goals.append(Goal(f"peak memory at {counts[-1]:,} images", 3072, highest, " MB", is_most=True))
    largest = results["split"][-1]
    goals.append(Goal("split, for each 25,000 images", 60, largest["seconds"] * 25_000 / counts[-1], " s", True))
    goals.append(Goal(f"split, peak memory at {counts[-1]:,} images", 1024, largest["megabytes"], " MB", True))
    print_goals(goals)


if __name__ == "__main__":
    main()
