"""The frozen backbone's output for every image, computed once."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cvd.models.networks.folding import fold_normalisation

BATCH_SIZE = 32  # fixed: the last bits of a result may depend on it
_AHEAD = 4  # batches that are loaded while one is computed


def make_extractor(backbone: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The way from images to features, compiled once and with BatchNorm folded: to rounding the saved model's own.

    Args:
        backbone: has a layer `features`, (n, k).

    Returns:
        A function of (b, s, s, 3) uint8 to (b, k) float32.
    """
    network = fold_normalisation(keras.Model(backbone.inputs[0], backbone.get_layer("features").output))
    # A free batch dimension: the last, smaller batch needs no tracing of its own.
    call = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)],
        jit_compile=False,  # XLA is slower than oneDNN on processors
    )
    return lambda images: call(tf.constant(images)).numpy()


def compute_features(
    extract: Callable[[np.ndarray], np.ndarray],
    fetch: Callable[[np.ndarray], np.ndarray],
    *,
    n_images: int,
    threads: int,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """The features of every image.

    Args:
        extract: what `make_extractor` gives.
        fetch: indices (b,), int64, to images (b, s, s, 3), uint8; called from several threads.
        n_images: how many there are, 0 to n_images - 1; at least 1.
        threads: how many load images while the network computes.
        batch_size: images computed at once.
        progress: called after each batch with the number of its images.

    Returns:
        (n_images, k), float32, in order.
    """
    parts = []
    for images in _load_ahead(fetch, _cut(n_images, batch_size), threads=threads):
        parts.append(extract(images))
        if progress:
            progress(len(images))
    return np.concatenate(parts)


def write_index(
    folder: str | Path, *, backbone: dict[str, str | int], paths: dict[str, list[str]], labels: dict[str, list[int]]
) -> None:
    """Writes index.json beside the features: which network they are from, and by split whose they are, row by row.

    Args:
        folder: holds {split}.npy.
        backbone: `name`, `size_px` and `sha256` of backbone.keras.
        paths: n paths as in the manifest, by split.
        labels: n labels, cat 0, dog 1, by split.
    """
    index = {"backbone": backbone, "paths": paths, "labels": labels}
    (Path(folder) / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _cut(n_images: int, batch_size: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + batch_size, n_images)) for start in range(0, n_images, batch_size)]


def _load_ahead(
    fetch: Callable[[np.ndarray], np.ndarray], batches: Iterable[np.ndarray], *, threads: int
) -> Iterator[np.ndarray]:
    """Batches in order, some of them fetched before they are asked for."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = []
        for indices in batches:
            waiting.append(pool.submit(fetch, indices))
            if len(waiting) > _AHEAD:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
