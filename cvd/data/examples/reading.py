"""The examples of a split, from image files, shards or cached features, behind one interface. No TensorFlow."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cvd.data.examples.shard_reader import INDEX, ShardedSplit, open_split, read_images
from cvd.data.images.manifest import select_split
from cvd.data.images.pixels import decode_image, limit_opencv_threads, load_image
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json
from cvd.runtime.threads import map_ahead, yield_between

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Wraps a stream of counts of finished images, as tqdm wraps an iterable."""

Load = Callable[[np.ndarray, np.ndarray], None]
"""Takes indices (b,) and fills images (b, h, w, 3)."""

RUN, AHEAD = 16, 64  # images that a thread loads at once; such runs that are loaded ahead


@dataclass(frozen=True)
class Examples:
    """A split's examples, in manifest order.

    Attributes:
        paths: n paths, as in the manifest.
        labels: (n,), int64; cat 0, dog 1.
        fetch: indices (b,) int64 -> a new array (b, *shape), `dtype`. May be called from several threads.
        shape: of one example: (h, w, 3) for images, (k,) for features.
        dtype: uint8 for images, float32 for features.
    """

    paths: list[str]
    labels: np.ndarray
    fetch: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.paths)


def read_split(source: str, folder: str | Path, manifest: pd.DataFrame, split: str, *, size_px: int) -> Examples:
    """Read a split from what a variant's `input` names: files, shards or features. Nothing is kept in memory.

    Args:
        source: "files", "shards" or "features".
        folder: of these.
        manifest: as `read_manifest` gives it.
        split: train, validation or test.
        size_px: side to which image files are squashed.

    Raises:
        InputError: the split is empty, a file is missing or damaged, or the manifest lists other images.
    """
    readers: dict[str, Callable[[], Examples]] = {
        "features": lambda: read_features(folder, split),
        "shards": lambda: read_shards(folder, split, memory_bytes=0),
        "files": lambda: read_files(folder, manifest, split, size_px=size_px, memory_bytes=0),
    }
    examples = readers[source]()
    if examples.paths != select_split(manifest, split)["path"].tolist():
        raise InputError(f"{folder} and the manifest list different images of {split}: run `dvc repro`")
    return examples


def read_files(
    images_folder: str | Path,
    manifest: pd.DataFrame,
    split: str,
    *,
    size_px: int,
    memory_bytes: int,
    progress: Progress | None = None,
) -> Examples:
    """Read examples from image files.

    Args:
        images_folder: holds the manifest's paths.
        manifest: as `read_manifest` gives it; `path`, `label` and `split` are used.
        split: train, validation or test.
        size_px: side to which images are squashed.
        memory_bytes: the split is decoded once, and kept, when it takes no more than this; else each fetch decodes.
        progress: wraps the stream of counts while the split is decoded.

    Raises:
        InputError: the split is empty, or a file is missing or cannot be decoded.
    """
    rows = select_split(manifest, split)
    paths = [str(path) for path in rows["path"]]
    labels = rows["label"].to_numpy(np.int64)
    files = [Path(images_folder, path) for path in paths]
    _check_files(files, split)
    shape = (size_px, size_px, 3)

    def load(indices: np.ndarray, images: np.ndarray) -> None:
        for image, index in yield_between(zip(images, indices, strict=True)):
            image[:] = load_image(files[index], size_px)

    return _make_image_examples(paths, labels, load, shape, memory_bytes=memory_bytes, progress=progress)


def read_shards(folder: str | Path, split: str, *, memory_bytes: int, progress: Progress | None = None) -> Examples:
    """Read examples from shards; raw ones are the same as from files.

    Args:
        folder: holds index.json and the shards.
        split: train, validation or test.
        memory_bytes: the split is read once, and kept, when it takes no more than this; else each fetch reads its
            records at their offsets.
        progress: wraps the stream of counts while the split is read.

    Raises:
        InputError: the index or a shard is missing, truncated or corrupted; `fetch` raises it too.
    """
    source = open_split(folder, split)
    shape = (source.size_px, source.size_px, 3)
    load = partial(_load_raw if source.encoding == "raw" else _load_jpeg, source)
    return _make_image_examples(source.paths, source.labels, load, shape, memory_bytes=memory_bytes, progress=progress)


def read_features(folder: str | Path, split: str) -> Examples:
    """Read examples from the frozen backbone's cached output, mapped into memory.

    Args:
        folder: holds index.json and {split}.npy, (n, k) float32.
        split: train, validation or test.

    Raises:
        InputError: a file is missing, or the two do not fit together.
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


def _check_files(files: list[Path], split: str) -> None:
    if not files:
        raise InputError(f"split {split!r} holds no images: the manifest must have rows of it")
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{len(missing)} of {len(files)} images of {split} are missing, the first is {missing[0]}")


def _load_raw(source: ShardedSplit, indices: np.ndarray, images: np.ndarray) -> None:
    read_images(source, indices, out=images.reshape(len(images), -1))


def _load_jpeg(source: ShardedSplit, indices: np.ndarray, images: np.ndarray) -> None:
    for index, jpeg, image in yield_between(zip(indices, read_images(source, indices), images, strict=True)):
        pixels = decode_image(jpeg.data)
        if pixels.shape != image.shape:
            raise InputError(
                f"{source.paths[index]} has shape {pixels.shape} in its shard, but the index says {image.shape}"
            )
        image[:] = pixels


def _make_image_examples(
    paths: list[str],
    labels: np.ndarray,
    load: Load,
    shape: tuple[int, ...],
    *,
    memory_bytes: int,
    progress: Progress | None,
) -> Examples:
    """Make examples of images, which are kept in memory when they fit there."""
    limit_opencv_threads()
    make = partial(Examples, paths, labels, shape=shape, dtype=np.dtype(np.uint8))
    if len(paths) * math.prod(shape) > memory_bytes:
        return make(partial(_fetch, load, shape))
    images = np.empty((len(paths), *shape), np.uint8)  # (n, h, w, c)

    def fill(start: int) -> int:
        indices = np.arange(start, min(start + RUN, len(paths)))
        load(indices, images[start : start + RUN])
        return len(indices)

    counts = map_ahead(fill, range(0, len(paths), RUN), n_ahead=AHEAD)
    for _ in progress(counts) if progress else counts:
        pass
    return make(partial(_fetch, partial(_copy, images), shape))


def _fetch(load: Load, shape: tuple[int, ...], indices: np.ndarray) -> np.ndarray:
    images = np.empty((len(indices), *shape), np.uint8)
    load(indices, images)
    return images


def _copy(source: np.ndarray, indices: np.ndarray, images: np.ndarray) -> None:
    for index, image in zip(indices, images, strict=True):
        image[:] = source[index]  # eight times as fast as source[indices], which copies byte by byte
