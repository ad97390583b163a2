"""First layers, whose response to pixels is linear: their kernels, and the pictures that excite them most."""

from __future__ import annotations

import keras
import numpy as np

from cvd.vis.filters.responses import find_convolution
from cvd.vis.filters.spectra import WHITE

# Layers that keep a convolution behind them linear in the pixels, up to a constant.
LINEAR = ("InputLayer", "Rescaling", "Normalization", "ZeroPadding2D")


def find_kernels(cut: keras.Model) -> np.ndarray | None:
    """Find what a first layer weighs its pixels by, of a model as of `cut_filters`; None for a deeper layer.

    Returns:
        (k, rows, columns, 3), float32: the kernels, normalisation and rescaling of pixels included. The response at a
        place, before its rectifier, is the sum of kernel times pixels plus a constant.
    """
    convolution = find_convolution(cut)
    if convolution is None or convolution.dilation != (1, 1):
        return None
    trunk = keras.Model(cut.inputs[0], convolution.features)
    if any(type(layer).__name__ not in LINEAR for layer in trunk.layers):
        return None
    # What a unit of each channel becomes: (2, s, s, 3) -> (3,), in the middle, where nothing is padded
    features = np.asarray(trunk(np.stack([np.zeros(trunk.input.shape[1:]), np.ones(trunk.input.shape[1:])])))
    middle = features[:, features.shape[1] // 2, features.shape[2] // 2]
    kernels = convolution.kernel * (middle[1] - middle[0])  # (k, taps, 3)
    return kernels.reshape(len(kernels), *convolution.size, -1)


def tile_signs(kernels: np.ndarray, size_px: int) -> np.ndarray:
    """Tile pictures (n, size_px, size_px, 3), float32, with the patch that excites a kernel most.

    The closed form at one place: a pixel is 255 where its weight is positive, else 0.
    """
    patches = np.where(kernels > 0, WHITE, 0).astype(np.float32)  # (n, rows, columns, 3)
    rows, columns = patches.shape[1:3]
    tiled = np.tile(patches, (1, -(-size_px // rows), -(-size_px // columns), 1))
    return tiled[:, :size_px, :size_px]
