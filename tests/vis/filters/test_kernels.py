"""First layers: their kernels, the closed form, and pictures that reach it."""

import itertools

import keras
import numpy as np
import pytest
from classifiers import build

from cvd.vis.explaining.graphs import cut_filters
from cvd.vis.filters.ascent import ascend_filters
from cvd.vis.filters.kernels import find_kernels, tile_signs

SIDE = 24


def build_first(padding: str = "valid", strides: int = 1, *, has_norm: bool = False) -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling([1 / 255, 1 / 64, 1 / 127.5], [0, -1, -1], name="rescaling")(inputs)
    settings = {"padding": padding, "strides": strides, "bias_initializer": "normal", "name": "conv"}
    if has_norm:
        x = keras.layers.BatchNormalization(
            name="bn", gamma_initializer=keras.initializers.RandomUniform(0.5, 2, seed=1)
        )(keras.layers.Conv2D(6, 3, **settings)(x))
        return keras.Model(inputs, keras.layers.ReLU(6, name="relu")(x))
    x = keras.layers.Conv2D(6, 3, activation="relu", **settings)(x)
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, activation="relu", name="second")(x))


@pytest.mark.parametrize("has_norm", [False, True])
def test_kernels_are_the_slope_by_the_pixels(has_norm: bool) -> None:
    model = build_first(has_norm=has_norm)
    cut = cut_filters(model, "relu" if has_norm else "conv", size_px=SIDE)
    kernels = find_kernels(cut)
    # The response of the cell at (5, 7) to a unit in each pixel of its receptive field, one by one
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 255, (SIDE, SIDE, 3)).astype(np.float32)
    for row, column, channel in itertools.product(range(3), range(3), range(3)):
        other = picture.copy()
        other[5 + row, 7 + column, channel] += 32
        bare = np.asarray(cut(np.stack([picture, other]))[0])[:, 5, 7]
        np.testing.assert_allclose((bare[1] - bare[0]) / 32, kernels[:, row, column, channel], rtol=1e-3, atol=1e-5)


def test_only_first_layers_have_kernels() -> None:
    assert find_kernels(cut_filters(build_first(), "second", size_px=SIDE)) is None
    assert find_kernels(cut_filters(build("mobilenet"), "block_2_expand_relu", size_px=32)) is None
    assert find_kernels(cut_filters(build("mobilenet"), "Conv1_relu", size_px=32)).shape[1:] == (3, 3, 3)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("has_norm", [False, True])
def test_a_first_layers_picture_reaches_the_closed_form(padding: str, strides: int, has_norm: bool) -> None:
    model = build_first(padding, strides, has_norm=has_norm)
    ascent = ascend_filters(
        model, layer="relu" if has_norm else "conv", filters=range(6), size_px=SIDE, steps=20, seed=1
    )
    layer = model.get_layer("conv")
    signs = np.where(layer.kernel.numpy() > 0, 255, 0)  # (3, 3, 3, 6), tiled by hand; all scales are positive
    cut = keras.Model(model.input, model.get_layer("relu" if has_norm else "conv").output)
    for index in range(6):
        tiled = np.tile(signs[..., index], (SIDE // 3, SIDE // 3, 1))[None].astype(np.float32)
        closed = float(np.asarray(cut(tiled))[..., index].mean())
        reached = float(np.asarray(cut(ascent.pictures[index][None]))[..., index].mean())
        assert reached >= 0.95 * closed
        assert reached == pytest.approx(ascent.highest[index], rel=1e-4, abs=1e-6)


def test_a_linear_layer_has_its_true_maximum() -> None:
    # Without a rectifier the mean response is linear: 255 where a pixel's weight, summed over its windows, is above 0.
    inputs = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="conv", kernel_initializer="normal")(inputs))
    ascent = ascend_filters(model, layer="conv", filters=range(4), size_px=SIDE, steps=20, seed=1)
    kernel = model.get_layer("conv").kernel.numpy()
    windows = SIDE - 2
    for index in range(4):
        weights = np.zeros((SIDE, SIDE, 3))
        for row, column in itertools.product(range(3), range(3)):
            weights[row : row + windows, column : column + windows] += kernel[row, column, :, index]
        highest = 255 * np.maximum(weights, 0).sum() / windows**2
        assert ascent.highest[index] == pytest.approx(highest, rel=1e-3)


def test_signs_are_tiled_and_cut() -> None:
    kernels = np.array([[[[1, -1, 2]], [[-1, 0, 1]]]], np.float32)  # 2 rows, 1 column
    tiled = tile_signs(kernels, 3)[0]
    assert tiled.shape == (3, 3, 3)
    assert tiled[:, 1].tolist() == [[255, 0, 255], [0, 0, 255], [255, 0, 255]]
