"""What the contests work on: many distinct images, and the variants' trainings as the train stage runs them."""

import contextlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from cvd.data.images.pixels import decode_image
from cvd.machine import threads
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.threads import count_cores

if TYPE_CHECKING:
    from cvd.data.examples.reading import Examples
    from cvd.training.course import OnEpoch, Training

ROOT = Path(__file__).parent.parent
SIZE, BATCH = 150, 20  # as in params.yaml and in the tutorials
SIDE_PX = 200  # of the image files
LABELS = ("cat", "dog")
# Augmentation that is off by default; the last two mix images.
KINDS = {
    "brightness_fraction": 0.2,
    "contrast_fraction": 0.3,
    "saturation_fraction": 0.5,
    "erase_fraction": 0.3,
    "mixup_alpha": 0.4,
    "cutmix_alpha": 1.0,
}


def make_images(first: int, stop: int, side_px: int = SIDE_PX) -> Iterator[tuple[str, str, bytes]]:
    """Make (label, name, JPEG) of the images `first` to `stop` (exclusive), on all cores.

    Each is one of 24 drawn animals in another frame and another coloured light, so that no two are near-duplicates.
    They take as long to decode as drawn images, and a fiftieth of the time to make.
    """
    animals = _draw_animals()

    def make(number: int) -> tuple[str, str, bytes]:
        rng = np.random.default_rng(number)
        animal = animals[number % len(animals)]
        top, left = (int(rng.integers(0, side // 4)) for side in animal.shape[:2])
        pixels = cv2.resize(animal[top:, left:], (side_px, side_px), interpolation=cv2.INTER_LINEAR)
        light = cv2.resize(
            rng.integers(0, 256, (6, 6, 3), np.uint8), pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC
        )
        _, jpeg = cv2.imencode(".jpg", cv2.addWeighted(pixels, 0.6, light, 0.4, 0), [cv2.IMWRITE_JPEG_QUALITY, 88])
        label = LABELS[number % 2]
        return label, f"{label}.{number // 2}.jpg", jpeg.tobytes()

    with ThreadPoolExecutor(count_cores()) as pool:
        for start in range(first, stop, 1000):  # so that memory stays bounded
            yield from pool.map(make, range(start, min(start + 1000, stop)))


@cache
def _draw_animals() -> list[np.ndarray]:
    from cvd.data.drawn.picture import draw

    return [decode_image(draw(LABELS[number % 2], number, 1).jpeg) for number in range(24)]


def write_folder(folder: Path, counts: Mapping[str, int], side_px: int = SIDE_PX) -> pd.DataFrame:
    """Write {split}/{label}/{name}, as many as `counts` says of each split; return their manifest."""
    rows: list[dict[str, str | int]] = []
    first = 0
    for split, n in counts.items():
        for label in LABELS:
            (folder / split / label).mkdir(parents=True)
        for label, name, jpeg in make_images(first, first + n, side_px):
            path = f"{split}/{label}/{name}"
            (folder / path).write_bytes(jpeg)
            rows.append({"path": path, "label": LABELS.index(label), "split": split, "sha256": f"{len(rows):064x}"})
        first += n
    return pd.DataFrame(rows)


def write_both_shards(folder: Path, manifest: pd.DataFrame) -> None:
    """Write folder/images' training images as shards into folder/raw and folder/jpeg."""
    from cvd.data.examples.shard_writer import write_shards

    write = partial(write_shards, size_px=SIZE, size_mb=load_project().shard.size_mb, splits=["train"])
    for encoding in ("raw", "jpeg"):
        (folder / encoding).mkdir()
        write(folder / "images", manifest, folder / encoding, encoding=encoding)


def write_archive(path: Path, n: int) -> None:
    """Write a zip of n images in folders named by their class."""
    with zipfile.ZipFile(path, "w") as archive:
        for label, name, jpeg in make_images(0, n):
            archive.writestr(f"{label}/{name}", jpeg)


def hold(examples: "Examples") -> "Examples":
    """Read all examples and keep them in memory."""
    from cvd.data.examples.shares import hold_part

    return hold_part(examples, range(len(examples)), memory_bytes=10**12)


def count_images(batches: Iterable[Any]) -> int:
    """Read all batches of (images, labels) and count the images."""
    return sum(len(images) for images, _ in batches)


def count_in_graph(dataset: Any) -> int:
    """Count the images of a tf.data dataset of (images, labels), read as in training: in a compiled function."""
    import tensorflow as tf

    return int(dataset.reduce(0, lambda n, batch: n + tf.shape(batch[0])[0]))


@contextlib.contextmanager
def hush() -> Iterator[None]:
    """Keep off the screen what others print."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def load_project() -> Params:
    """Load the project's parameters."""
    return load_params(ROOT / "params.yaml")


def train_variant(
    name: str,
    train: "Examples",
    validation: "Examples",
    *,
    epochs: int,
    n_threads: int | None = None,
    on_epoch: "OnEpoch | None" = None,
) -> "Training":
    """Train a variant as the train stage does, with its state on disk, for `epochs`, silently.

    `n_threads` stands for train.threads of params.yaml, which is the default.
    """
    from cvd.models.networks.head import build_head
    from cvd.models.scratch import choose_builder
    from cvd.training.fitting import train_model
    from cvd.training.plan import choose_augment, choose_precision

    params = load_project()
    variant = params.variants[name].model_dump()
    threads.set_threads(n_threads or params.train.threads)
    if variant["network"] == "backbone":
        build: Any = partial(build_head, n_features=train.shape[0], dropout=variant["dropout"])
    else:
        build = partial(choose_builder(variant, size_px=train.shape[0]), for_training=True)
    with tempfile.TemporaryDirectory() as state, hush():
        return train_model(
            lambda dtype: build(dtype=dtype),
            train,
            validation,
            {**variant, "epochs": epochs},
            batch_size=params.train.batch_size,
            precision=choose_precision(variant, params.train.precision),
            seed=params.seed,
            augment=choose_augment(variant, params.augment.model_dump(), seed=params.seed),
            state_folder=Path(state),
            on_epoch=on_epoch,
        )


def drop_page_cache(folder: Path) -> None:
    """Make the system forget the contents of a folder's files, so that they are read from the disk again."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # pages not yet written cannot be dropped
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
