"""An epoch of `baseline` and of `augmented` against the tutorials' way, in turn, each in a process of its own.

A turn is a whole training: a cold epoch and some warm ones, whose median counts. (A training that rested for
others between its epochs was seen to stand still in the next one: the tutorials' way, on Keras 3.15, for 9 of 13 s.)

The tutorials' way: ImageDataGenerator reads a folder and feeds `fit` of the textbook's network in float32, without or
with its augmentation and dropout. An epoch is all of it: training, validation on half as many images, bookkeeping.
The first epoch is cold: it reads the images, builds and traces the network; importing TensorFlow is not in it.
Where PyTorch is installed, which this project does not ask for, the plain network is trained with it as well: read by a
DataLoader that decodes the files in every epoch, in bfloat16 and channels last.
"""

import argparse
import importlib.util
import tempfile
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.contest import (
    Clock,
    Figures,
    Goal,
    Turn,
    Work,
    divide,
    format_median,
    print_conditions,
    print_goals,
    print_table,
    take_turns,
)
from benchmarks.pytorch import train_with_pytorch
from benchmarks.workload import BATCH, SIDE_PX, SIZE, hold, hush, load_project, train_variant, write_folder

TUTORIAL, TUTORIAL_AUGMENTED, PYTORCH = "tutorial", "tutorial, augmented", "PyTorch, bfloat16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500, help="training images; half as many are for validation")
    parser.add_argument("--starts", type=int, default=2, help="trainings of each")
    parser.add_argument("--warm", type=int, default=2, help="epochs after the cold one")
    args = parser.parse_args()
    if args.warm < 1 or args.starts < 1:
        parser.error("--warm and --starts must be at least 1")
    epochs = 1 + args.warm
    with tempfile.TemporaryDirectory() as temporary:
        manifest = write_folder(Path(temporary), {"train": args.images, "validation": args.images // 2})
        contenders: dict[str, Work] = {
            TUTORIAL: partial(follow_tutorial, Path(temporary), epochs, False),
            TUTORIAL_AUGMENTED: partial(follow_tutorial, Path(temporary), epochs, True),
            "baseline": partial(train_ours, Path(temporary), manifest, epochs, "baseline"),
            "augmented": partial(train_ours, Path(temporary), manifest, epochs, "augmented"),
        }
        if importlib.util.find_spec("torch"):
            contenders[PYTORCH] = partial(train_with_pytorch, Path(temporary), epochs)
        starts = [start_anew(contenders, first=number) for number in range(args.starts)]
    data = (
        f"{args.images:,} training and {args.images // 2:,} validation JPEG files of {SIDE_PX} px, "
        f"batches of {BATCH} at {SIZE} px; {args.starts} trainings of {epochs} epochs each"
    )
    precision = f"ours {load_project().train.precision}; the tutorials' float32"
    print_conditions("An epoch", data=data, precision=precision)
    report(starts)


def start_anew(contenders: dict[str, Work], *, first: int) -> dict[str, Figures]:
    """Measure each contender's training, one after the other, beginning with the one numbered `first`."""
    names = list(contenders)
    first %= len(names)
    turns = take_turns({name: contenders[name] for name in names[first:] + names[:first]}, rounds=1)
    return {name: turns[name][0] for name in names}


def report(starts: list[dict[str, Figures]]) -> None:
    """Print seconds of the cold and of the median warm epoch, the rate of the warm training steps, and the goals."""
    names = list(starts[0])
    peers = [name for name in names if name in (TUTORIAL, TUTORIAL_AUGMENTED, PYTORCH)]
    cold, warm, rates = (
        {name: [start[name][figure] for start in starts] for name in names} for figure in ("cold", "warm", "rate")
    )
    rows = [
        [
            name,
            format_median(cold[name], 2),
            format_median(warm[name], 2),
            *(f"{divide(warm[peer], warm[name]):.2f}x" for peer in peers),
            format_median(rates[name]),
        ]
        for name in names
    ]
    heading = ["seconds", "cold epoch", "warm epoch", *(f"vs {peer}" for peer in peers), "images/s in training steps"]
    print_table(heading, rows)
    pairs = (("baseline", TUTORIAL, 1.9), ("augmented", TUTORIAL_AUGMENTED, 2.5))
    goals = [
        Goal(f"{kind} epoch of {name} vs the tutorials' way", asked, divide(series[peer], series[name]))
        for kind, series in (("warm", warm), ("cold", cold))
        for name, peer, asked in pairs
    ]
    ratio = divide(rates["baseline"], rates["augmented"])
    print_goals([*goals, Goal("augmented vs baseline, seconds per image", 1.05, ratio, is_most=True)])
    print(f"fastest training's warm epoch: {', '.join(f'{name} {min(warm[name]):.2f} s' for name in names)}")


def train_ours(folder: Path, manifest: pd.DataFrame, epochs: int, variant: str, turn: Turn) -> None:
    """Train a variant as its stage does."""
    import cvd.training.fitting  # noqa: F401, so that it is loaded before the first turn
    from cvd.data.examples.reading import read_files

    turn.begin()
    clock = Clock()

    def end_epoch(epoch: int, metrics: dict[str, float]) -> None:
        clock.note_rate(metrics["images_per_second"])
        clock.end_epoch()

    train, validation = (hold(read_files(folder, manifest, split, size_px=SIZE)) for split in ("train", "validation"))
    train_variant(variant, train, validation, epochs=epochs, on_epoch=end_epoch)
    clock.hand_in(turn)


def follow_tutorial(folder: Path, epochs: int, augment: bool, turn: Turn) -> None:
    """Train as in Chollet, Deep Learning with Python, 2017, listings 5.5 to 5.14, in today's Keras."""
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    layers = keras.layers
    ranges = {
        "rotation_range": 40,
        "width_shift_range": 0.2,
        "height_shift_range": 0.2,
        "shear_range": 0.2,
        "zoom_range": 0.2,
        "horizontal_flip": True,
    }
    turn.begin()
    clock = Clock()
    stack: list[keras.Layer] = [layers.Input((SIZE, SIZE, 3))]
    for filters in (32, 64, 128, 128):
        stack += [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(2)]
    stack += [layers.Flatten(), *([layers.Dropout(0.5)] if augment else [])]
    model = keras.Sequential([*stack, layers.Dense(512, activation="relu"), layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.RMSprop(1e-4), "binary_crossentropy", metrics=["acc"])
    options = {"target_size": (SIZE, SIZE), "batch_size": BATCH, "class_mode": "binary"}
    with hush():
        train = ImageDataGenerator(rescale=1 / 255, **(ranges if augment else {})).flow_from_directory(
            folder / "train", **options
        )
        validation = ImageDataGenerator(rescale=1 / 255).flow_from_directory(folder / "validation", **options)
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: clock.begin_steps(),
        on_test_begin=lambda logs: clock.end_steps(train.n),
        on_epoch_end=lambda epoch, logs: clock.end_epoch(),
    )
    model.fit(train, epochs=epochs, validation_data=validation, callbacks=[watch], verbose=0)
    clock.hand_in(turn)


if __name__ == "__main__":
    main()
