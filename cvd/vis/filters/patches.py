"""The patches of real images that excite filters most, as large as the filters' pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cvd.vis.explaining.geometry import locate_cells
from cvd.vis.explaining.graphs import resize_layers

N_PATCHES = 3  # of each filter
BATCH = 8  # images


class Patches(NamedTuple):
    """The strongest patches of n filters, the strongest first by its map, each of another image."""

    images: np.ndarray  # (n, p), int64: which of the images
    corners: np.ndarray  # (n, p, 2), int64: row and column of the upper left pixel
    pixels: np.ndarray  # (n, p, s, s, 3), uint8

    def order(self, ranks: np.ndarray) -> np.ndarray:
        """Give the pixels in another order: `ranks`, (n, p), are the places of the first, the second, and so on."""
        return np.take_along_axis(self.pixels, ranks[..., None, None, None], axis=1)


def find_patches(
    model: keras.Model,
    images: np.ndarray,
    *,
    layers: Mapping[str, Sequence[int]],
    size_px: int,
    n: int = N_PATCHES,
    at_once: int = 1,
) -> dict[str, Patches]:
    """Find the patches of (size_px, size_px) on which filters' mean activations are highest.

    One pass over the images gives all layers' maps; a patch is a window of a map. For a network without padding, a
    window holds what the patch alone would give; with padding, all but its rim does.

    Args:
        model: any functional Keras model of pixels 0..255.
        images: (n, h, h, 3), uint8, with h >= size_px; the model is applied at this size.
        layers: numbers of filters for each layer.
        size_px: side of the patches.
        n: patches of each filter, at most one of an image.
        at_once: batches of images at the same time.

    Raises:
        InputError: a layer does not fit, or has no output at this size.
    """
    side_px = images.shape[1]
    names = list(layers)
    whole, small = (resize_layers(model, names, size_px=size) for size in (side_px, size_px))
    windows = [output.shape[1:3] for output in small.outputs]
    chosen = [tf.constant(layers[name], tf.int64) for name in names]
    signature = [tf.TensorSpec((None, side_px, side_px, 3), tf.uint8)]
    look = tf.function(partial(_find_windows, whole, chosen, windows), input_signature=signature)
    with ThreadPoolExecutor(at_once) as pool:
        batches = list(pool.map(lambda start: look(images[start : start + BATCH]), range(0, len(images), BATCH)))
    patches = {}
    for index, name in enumerate(names):
        means, places = (np.concatenate([np.asarray(batch[index][part]) for batch in batches]) for part in (0, 1))
        strides = [axis.stride for axis in locate_cells(model, name)]
        best = np.argsort(-means, axis=0, kind="stable")[:n].T  # (k, p)
        cells = np.stack(np.divmod(np.take_along_axis(places.T, best, 1), whole.outputs[index].shape[2]), axis=-1)
        corners = np.clip(np.rint(cells * strides), 0, side_px - size_px).astype(np.int64)  # (k, p, 2)
        pixels = [
            [images[i, y : y + size_px, x : x + size_px] for i, (y, x) in zip(*row, strict=True)]
            for row in zip(best, corners, strict=True)
        ]
        patches[name] = Patches(best, corners, np.array(pixels))
    return patches


def _find_windows(
    whole: keras.Model, chosen: Sequence[tf.Tensor], windows: Sequence[tuple[int, int]], images: tf.Tensor
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Find each image's best window for each filter: its mean activation and its first cell, (b, k) each."""
    outputs = keras.tree.flatten(whole(tf.cast(images, tf.float32), training=False))
    best = []
    for output, filters, window in zip(outputs, chosen, windows, strict=True):
        maps = tf.gather(tf.cast(output, tf.float32), filters, axis=3)  # (b, h, w, k)
        means = tf.nn.avg_pool2d(maps, window, 1, "VALID")  # (b, rows, columns, k)
        rows, columns, n_filters = means.shape[1:]
        flat = tf.reshape(means, (-1, rows * columns, n_filters))
        cell = tf.argmax(flat, axis=1)  # (b, k)
        place = cell // columns * output.shape[2] + cell % columns
        best.append((tf.reduce_max(flat, axis=1), place))
    return best
