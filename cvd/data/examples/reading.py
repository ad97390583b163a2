"""The examples of a split, from image files, shards or cached features, behind one interface. No TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cvd.data.examples.shard_reader import INDEX, ShardedSplit, open_split, read_images
from cvd.data.images.manifest import select_split
from cvd.data.images.pixels import decode_image, limit_opencv_threads, load_image
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json
from cvd.runtime.threads import yield_between

Fetch = Callable[[np.ndarray], np.ndarray]
"""indices (b,) int64 -> a new array (b, *shape), `dtype`; safe to call from several threads."""

Load = Callable[[np.ndarray, np.ndarray], None]
"""Takes indices (b,) and fills images (b, h, w, 3)."""


@dataclass(frozen=True)
class Examples:
    """A split's examples, in manifest order."""

    paths: list[str]  # n paths, as in the manifest
    labels: np.ndarray  # (n,) int64; 0 or 1
    fetch: Fetch
    shape: tuple[int, ...]  # of one example: (h, w, 3) for images, (k,) for features
    dtype: np.dtype  # uint8 for images, float32 for features

    def __len__(self) -> int:
        return len(self.paths)


def read_split(source: str, folder: str | Path, manifest: pd.DataFrame, split: str, *, size_px: int) -> Examples:
    """Read a split from what a variant's `input` names: files, shards or features. Nothing is kept in memory.

    Image files are squashed to a side of `size_px`.

    Raises:
        InputError: the split is empty, a file is missing or damaged, or the manifest lists other images.
    """
    readers: dict[str, Callable[[], Examples]] = {
        "features": lambda: read_features(folder, split),
        "shards": lambda: read_shards(folder, split),
        "files": lambda: read_files(folder, manifest, split, size_px=size_px),
    }
    examples = readers[source]()
    if examples.paths != select_split(manifest, split)["path"].tolist():
        raise InputError(f"{folder} and the manifest list different images of {split}: run `dvc repro`")
    return examples


def read_files(images_folder: str | Path, manifest: pd.DataFrame, split: str, *, size_px: int) -> Examples:
    """Read examples from image files, squashed to a side of `size_px`; each fetch decodes.

    Raises:
        InputError: the split is empty, or a file is missing; `fetch` raises it where one cannot be decoded.
    """
    rows = select_split(manifest, split)
    paths = [str(path) for path in rows["path"]]
    files = [Path(images_folder, path) for path in paths]
    if not files:
        raise InputError(f"split {split!r} holds no images: the manifest must have rows of it")
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{len(missing)} of {len(files)} images of {split} are missing, the first is {missing[0]}")

    def load(indices: np.ndarray, images: np.ndarray) -> None:
        for image, index in yield_between(zip(images, indices, strict=True)):
            image[:] = load_image(files[index], size_px)

    return _make_examples(paths, rows["label"].to_numpy(np.int64), size_px, load)


def read_shards(folder: str | Path, split: str) -> Examples:
    """Read examples from shards, raw ones the same as from files; each fetch reads its records at their offsets.

    Raises:
        InputError: the index or a shard is missing, truncated or corrupted; `fetch` raises it too.
    """
    source = open_split(folder, split)

    def load(indices: np.ndarray, images: np.ndarray) -> None:
        if source.encoding == "raw":
            read_images(source, indices, out=images.reshape(len(images), -1))
        else:
            _load_jpegs(source, indices, images)

    return _make_examples(source.paths, source.labels, source.size_px, load)


def read_features(folder: str | Path, split: str) -> Examples:
    """Read examples from the frozen backbone's cached output, {split}.npy (n, k) float32, mapped into memory.

    Raises:
        InputError: a file is missing, or it does not fit index.json.
    """
    folder = Path(folder)
    index = read_json(folder / INDEX)
    try:
        features = np.load(folder / f"{split}.npy", mmap_mode="r")
        paths, labels = list(index["paths"][split]), np.asarray(index["labels"][split], np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read the features of {split} in {folder}: {error}; run the features stage") from error
    if features.ndim != 2 or not 0 < len(features) == len(paths) == len(labels):
        raise InputError(
            f"{folder}/{split}.npy has shape {features.shape} for {len(paths)} images: run the features stage"
        )

    def fetch(indices: np.ndarray) -> np.ndarray:
        return np.asarray(features[indices], np.float32)

    return Examples(paths, labels, fetch, (features.shape[1],), np.dtype(np.float32))


def _load_jpegs(source: ShardedSplit, indices: np.ndarray, images: np.ndarray) -> None:
    for index, jpeg, image in yield_between(zip(indices, read_images(source, indices), images, strict=True)):
        pixels = decode_image(jpeg.data)
        if pixels.shape != image.shape:
            raise InputError(
                f"{source.paths[index]} has shape {pixels.shape} in its shard, but the index says {image.shape}"
            )
        image[:] = pixels


def _make_examples(paths: list[str], labels: np.ndarray, size_px: int, load: Load) -> Examples:
    limit_opencv_threads()
    shape = (size_px, size_px, 3)

    def fetch(indices: np.ndarray) -> np.ndarray:
        images = np.empty((len(indices), *shape), np.uint8)  # (b, h, w, 3)
        load(indices, images)
        return images

    return Examples(paths, labels, fetch, shape, np.dtype(np.uint8))
