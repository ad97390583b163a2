"""Transfer: the frozen backbone's features computed once, against the backbone run in every epoch.

Ours is everything that 30 epochs need: reading the images, tracing, the features of all of them, the head's training
as the train stage runs it. The other way is the tutorials': backbone, dropout and one dense unit as one network, the
backbone frozen, `fit` for 30 epochs on images that are in memory. Of these, all alike, some are timed, and the rest
count as the last ones. Both validate in every epoch. The backbone's weights are random: they cost as much as pretrained
ones.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.contest import Goal, Series, divide, format_median, print_conditions, print_goals, print_table
from benchmarks.workload import SIDE_PX, hold, load_project, train_variant, write_folder
from cvd.machine import threads
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import keras

SPLITS = ("train", "validation")
ONCE, EVERY = "features once", "backbone in every epoch"
NOT_RUN = "of it epochs that were not run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400, help="training images; half as many are for validation")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--timed", type=int, default=4, help="epochs of the other way that are run, at least 2")
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    start_tensorflow()
    from cvd.models.pretrained.building import build_backbone

    settings = load_project().backbone
    threads.set_threads(load_project().train.threads)
    seconds: Series = {ONCE: [], EVERY: []}
    parts: Series = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = write_folder(folder, {"train": args.images, "validation": args.images // 2})
        backbone, _ = build_backbone(name=settings.name, weights="random", size_px=settings.size_px, cache=folder)
        backbone.trainable = False
        ways: dict[str, Callable[[], dict[str, float]]] = {
            ONCE: lambda: compute_once(backbone, folder, manifest, args.epochs),
            EVERY: lambda: compute_every_time(backbone, folder, manifest, args.epochs, args.timed),
        }
        for _ in range(args.repeats):
            for name, way in ways.items():
                start = time.perf_counter()
                found = way()
                seconds[name].append(time.perf_counter() - start + found.get(NOT_RUN, 0))
                for part, figure in found.items():
                    parts.setdefault(part, []).append(figure)
    data = (
        f"{args.images:,} training and {args.images // 2:,} validation files of {SIDE_PX} px at {settings.size_px} px"
    )
    print_conditions(f"Transfer, {args.epochs} epochs, {settings.name}", data=data, precision="float32")
    rows = [
        [name, format_median(series, 2), f"{divide(seconds[EVERY], series):.1f}x"] for name, series in seconds.items()
    ]
    rows += [[f"  {part}", format_median(series, 2), ""] for part, series in parts.items()]
    print_table(["", "seconds", f"vs {EVERY}"], rows)
    print_goals([Goal(f"transfer, {args.epochs} epochs, vs {EVERY}", 15, divide(seconds[EVERY], seconds[ONCE]))])


def compute_once(backbone: "keras.Model", folder: Path, manifest: pd.DataFrame, epochs: int) -> dict[str, float]:
    """Train this project's way: the features stage's work, then the train stage's."""
    from cvd.data.examples.reading import read_files
    from cvd.training.transfer import extract_examples

    start, size_px = time.perf_counter(), backbone.input_shape[1]
    images = [read_files(folder, manifest, split, size_px=size_px) for split in SPLITS]
    features = extract_examples(backbone, *images, threads=load_project().train.threads)
    middle = time.perf_counter()
    train_variant("transfer", *features, epochs=epochs)
    return {"of it features": middle - start, "of it training the head": time.perf_counter() - middle}


def compute_every_time(
    backbone: "keras.Model", folder: Path, manifest: pd.DataFrame, epochs: int, n_timed: int
) -> dict[str, float]:
    """Train the tutorials' way, from images in memory."""
    import keras
    import numpy as np

    from cvd.data.examples.reading import read_files

    features = backbone.get_layer("features").output
    logits = keras.layers.Dense(1)(keras.layers.Dropout(0.5)(features))
    model = keras.Model(backbone.inputs[0], logits)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True), metrics=["accuracy"])
    size_px = backbone.input_shape[1]
    train, validation = (hold(read_files(folder, manifest, split, size_px=size_px)) for split in SPLITS)
    everything = [
        (split.fetch(np.arange(len(split))), split.labels.astype("float32")[:, None]) for split in (train, validation)
    ]
    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    settings = {"epochs": n_timed, "validation_data": everything[1], "callbacks": [watch], "verbose": 0}
    model.fit(*everything[0], batch_size=20, **settings)
    return {NOT_RUN: (epochs - n_timed) * (ends[-1] - ends[0]) / (n_timed - 1)}


if __name__ == "__main__":
    main()
