"""One filter for each picture gives what the whole layer gives for it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from classifiers import build

from cvd.vis.explaining.graphs import cut_filters
from cvd.vis.filters.responses import find_convolution, make_responder

SIDE = 26
FILTERS = [3, 0, 3]


def compare(model: keras.Model, layer: str, *, is_convolution: bool) -> None:
    cut = cut_filters(model, layer, size_px=SIDE)
    assert (find_convolution(cut) is not None) is is_convolution
    pictures = np.random.default_rng(0).uniform(0, 255, (3, SIDE, SIDE, 3)).astype(np.float32)
    outputs = make_responder(cut)(tf.constant(pictures), tf.constant(FILTERS, tf.int64))
    for answers, whole in zip(outputs, cut(pictures), strict=True):
        expected = np.stack([picture[..., index] for picture, index in zip(np.asarray(whole), FILTERS, strict=True)])
        np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("size", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (1, 1, 1), (3, 1, 2), ((2, 3), 3, 1)])
def test_convolutions_of_every_kind(padding: str, size: int | tuple[int, int], stride: int, dilation: int) -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(5, 3)(keras.layers.Rescaling(1 / 255)(inputs))
    settings = {"strides": stride, "dilation_rate": dilation, "padding": padding}
    x = keras.layers.Conv2D(4, size, **settings, activation="relu", bias_initializer="normal", name="conv")(x)
    compare(keras.Model(inputs, x), "conv", is_convolution=True)


@pytest.mark.parametrize("layer", ["Conv1_relu", "block_2_expand_relu", "block_2_project_BN", "block_2_expand"])
def test_normalisation_and_rectifier_belong_to_their_convolution(layer: str) -> None:
    compare(build("mobilenet"), layer, is_convolution=True)


@pytest.mark.parametrize("layer", ["block_2_add", "block_2_depthwise_relu", "block_2_depthwise"])
def test_other_layers_are_computed_whole(layer: str) -> None:
    compare(build("mobilenet"), layer, is_convolution=False)
