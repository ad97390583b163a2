"""The eased convolution of pixels: TensorFlow's outputs to the bit, and its gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from classifiers import build

from cvd.vis.filters.pixels import PixelConvolution, convolve_pixels, ease_gradient


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("size", [(3, 3), (2, 5), (1, 1), (4, 4)])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_outputs_and_gradients_are_those_of_tensorflow(padding: str, size: tuple[int, int], n_channels: int) -> None:
    rng = np.random.default_rng(0)
    pixels = tf.constant(rng.normal(size=(2, 9, 11, n_channels)), tf.float32)
    kernel = tf.constant(rng.normal(size=(*size, n_channels, 6)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(pixels)
        eased, usual = convolve_pixels(pixels, kernel, padding), tf.nn.conv2d(pixels, kernel, 1, padding)
        weights = tf.constant(rng.normal(size=usual.shape), tf.float32)
        eased_sum, usual_sum = tf.reduce_sum(eased * weights), tf.reduce_sum(usual * weights)
    np.testing.assert_array_equal(eased, usual)
    np.testing.assert_allclose(tape.gradient(eased_sum, pixels), tape.gradient(usual_sum, pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "layer"), [("plain", "conv1"), ("mobilenet", None)])
def test_only_a_convolution_of_pixels_is_replaced(name: str, layer: str | None) -> None:
    model = build(name)
    eased = ease_gradient(model)
    assert [each.name for each in eased.layers if isinstance(each, PixelConvolution)] == [layer] * bool(layer)
    assert all(each is model.get_layer(each.name) for each in eased.layers if each.weights and each.name != layer)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *model.inputs[0].shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(eased(pixels), model(pixels))


def test_a_model_inside_a_model_is_taken_as_it_is() -> None:
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, inner(inputs))
    assert ease_gradient(model) is model
