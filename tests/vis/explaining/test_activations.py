"""Activations of many layers at once."""

import keras
import numpy as np
import pytest

from cvd.runtime.errors import InputError
from cvd.vis.explaining.graphs import compute_activations


@pytest.fixture(scope="module")
def model() -> keras.Model:
    inputs = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv1")(
        keras.layers.Rescaling(1 / 255, name="rescaling")(inputs)
    )
    x = keras.layers.SeparableConv2D(5, 3, name="conv2")(keras.layers.MaxPooling2D(name="pool1")(x))
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(keras.layers.Flatten(name="flatten")(x)))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


def test_every_layer_gives_what_it_gives_alone(model: keras.Model, images: np.ndarray) -> None:
    names = ["conv1", "pool1", "conv2"]
    activations = compute_activations(model, images, layers=names, batch_size=2)
    assert list(activations) == names
    for name in names:
        alone = keras.Model(model.input, model.get_layer(name).output)(images.astype(np.float32))
        assert activations[name].dtype == np.float32
        np.testing.assert_allclose(activations[name], alone, rtol=1e-4, atol=1e-6)


def test_the_first_convolution_by_hand(model: keras.Model, images: np.ndarray) -> None:
    kernel, bias = model.get_layer("conv1").get_weights()
    windows = np.lib.stride_tricks.sliding_window_view(images / 255.0, (3, 3), axis=(1, 2))  # (n, 14, 14, 3, 3, 3)
    expected = np.maximum(np.einsum("nhwcij,ijck->nhwk", windows, kernel) + bias, 0)
    np.testing.assert_allclose(
        compute_activations(model, images, layers=["conv1"])["conv1"], expected, rtol=1e-4, atol=1e-5
    )


def test_a_layer_called_in_two_graphs_is_read_in_the_right_one(model: keras.Model, images: np.ndarray) -> None:
    inputs = keras.Input((16, 16, 3), name="others")
    x = inputs
    for layer in model.layers[1:]:
        x = layer(x)
    again = keras.Model(inputs, x)
    np.testing.assert_array_equal(
        compute_activations(again, images, layers=["conv2"])["conv2"],
        compute_activations(model, images, layers=["conv2"])["conv2"],
    )


def test_wrong_input_is_named(model: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="layer 'conv3' is not in model"):
        compute_activations(model, images, layers=["conv3"])
    with pytest.raises(InputError, match=r"images of shape \(16, 16, 3\)"):
        compute_activations(model, images[0], layers=["conv1"])
