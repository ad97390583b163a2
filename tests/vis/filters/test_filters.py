"""Gradient ascent: its gradient, its rise, its independence, dead filters."""

import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvd.runtime.errors import InputError
from cvd.vis.explaining.graphs import cut_filters
from cvd.vis.filters import ascent as filters
from cvd.vis.filters.responses import make_responder

SIDE = 24


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Fixed input of 40 px, a filter of `conv2` that never fires, and a Flatten behind."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((40, 40, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="rescaling")(inputs)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="conv1")(x)
    x = keras.layers.MaxPooling2D(name="pool1")(x)
    x = keras.layers.Conv2D(5, 3, activation="relu", name="conv2")(x)
    x = keras.layers.Dense(1, name="logit")(keras.layers.Flatten(name="flatten")(x))
    network = keras.Model(inputs, x, name="plain")
    kernel, bias = network.get_layer("conv2").get_weights()
    kernel[..., 4], bias[4] = 0, -1
    bias[1], bias[3] = 0.5, 0.5
    network.get_layer("conv2").set_weights([kernel, bias])
    return network


@pytest.mark.parametrize("rectified", [True, False])
def test_the_gradient_is_that_of_finite_differences(model: keras.Model, rectified: bool) -> None:
    respond = make_responder(cut_filters(model, "conv2", size_px=SIDE))
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32)
    chosen = tf.constant([1, 3], tf.int64)
    values, gradients = filters.differentiate(respond, tf.constant(images), chosen, rectified=rectified)
    direction = gradients.numpy() / np.abs(gradients).max()
    step = 0.5
    above, _ = filters.differentiate(respond, tf.constant(images + step * direction), chosen, rectified=True)
    below, _ = filters.differentiate(respond, tf.constant(images - step * direction), chosen, rectified=True)
    assert (values > 0).numpy().all()  # both fire, so that the two objectives are the same
    numeric = (above - below).numpy() / (2 * step)
    np.testing.assert_allclose((gradients * direction).numpy().sum(axis=(1, 2, 3)), numeric, rtol=2e-2)


@pytest.mark.parametrize("recipe", filters.RECIPES)
def test_objectives_rise_and_pictures_stay_in_range(model: keras.Model, recipe: str) -> None:
    ascent = filters.ascend_filters(
        model, layer="conv2", filters=range(4), size_px=SIDE, steps=15, seed=1, recipe=recipe
    )
    assert ascent.pictures.shape == (4, SIDE, SIDE, 3)
    assert ((ascent.pictures >= 0) & (ascent.pictures <= 255)).all()
    alive = ~ascent.is_dead
    assert alive.any()
    assert (ascent.objectives[alive, -1] > ascent.objectives[alive, 0]).all()


def test_the_whole_rise_is_recorded(model: keras.Model) -> None:
    settings = {"layer": "conv2", "filters": [1, 3], "size_px": SIDE, "seed": 1, "recipe": "plain"}
    short, long = (filters.ascend_filters(model, steps=steps, **settings) for steps in (4, 9))
    assert long.objectives.shape == (2, 10)
    np.testing.assert_allclose(long.objectives[:, :5], short.objectives, rtol=1e-4)
    assert (np.diff(long.objectives, axis=1) > 0).all()


def test_what_is_recorded_is_the_mean_activation(model: keras.Model) -> None:
    ascent = filters.ascend_filters(model, layer="conv2", filters=[2], size_px=40, steps=3, seed=1)
    cut = keras.Model(model.input, model.get_layer("conv2").output)
    mean = np.asarray(cut(ascent.pictures))[..., 2].mean()
    np.testing.assert_allclose(mean, ascent.objectives[0, -1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("recipe", filters.RECIPES)
def test_a_dead_filter_is_reported(model: keras.Model, recipe: str) -> None:
    ascent = filters.ascend_filters(model, layer="conv2", filters=[4, 1], size_px=SIDE, steps=5, seed=1, recipe=recipe)
    assert ascent.is_dead.tolist()[0]
    assert ascent.objectives[0, -1] == 0
    assert np.isfinite(ascent.pictures).all()


def test_the_same_filter_in_any_company(model: keras.Model) -> None:
    settings = {"layer": "conv2", "size_px": SIDE, "steps": 4, "seed": 1}
    together = filters.ascend_filters(model, filters=[1, 2, 3], batch_size=2, **settings)
    alone = filters.ascend_filters(model, filters=[3], **settings)
    np.testing.assert_allclose(together.pictures[2], alone.pictures[0], atol=0.05)
    again = filters.ascend_filters(model, filters=[1, 2, 3], batch_size=2, **settings)
    np.testing.assert_array_equal(together.pictures, again.pictures)


@pytest.mark.parametrize("recipe", filters.RECIPES)
def test_batches_side_by_side_give_the_same_bits(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    settings = {"layer": "conv1", "filters": range(5), "size_px": SIDE, "steps": 4, "seed": 1, "batch_size": 2}
    expected = filters.ascend_filters(model, recipe=recipe, **settings)
    meeting, draw = threading.Barrier(3, timeout=30), filters.draw_noise

    def draw_together(*arguments: Any) -> np.ndarray:
        meeting.wait()  # breaks where the three batches are not on their way at the same time
        return draw(*arguments)

    monkeypatch.setattr(filters, "draw_noise", draw_together)
    for _ in range(5):
        found = filters.ascend_filters(model, recipe=recipe, at_once=3, **settings)
        for each, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(each, other)


def test_noise_depends_on_seed_and_filter_only() -> None:
    noise = filters.draw_noise(np.array([3, 5]), 8, 1)
    np.testing.assert_array_equal(noise[1], filters.draw_noise(np.array([5]), 8, 1)[0])
    assert np.abs(noise - filters.GREY).max() <= filters.NOISE
    assert not np.array_equal(noise[1], filters.draw_noise(np.array([5]), 8, 2)[0])


def test_decorrelated_steps_climb() -> None:
    # The weights are positive, so the weighed gradient never points down.
    gradients = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32)
    weighed = filters.decorrelate(tf.constant(gradients), filters.filter_spectrum(9)).numpy()
    assert weighed.shape == gradients.shape
    assert ((weighed * gradients).sum(axis=(1, 2, 3)) > 0).all()


def test_a_flat_spectrum_and_its_inverse_change_colours_only() -> None:
    gradients = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    flat = filters.decorrelate(tf.constant(gradients), np.ones((8, 5), np.float32)).numpy()
    np.testing.assert_allclose(flat, gradients @ (filters.COLOUR @ filters.COLOUR.T), atol=1e-5)


def test_a_backbone_of_fixed_size_is_cut_for_another() -> None:
    backbone = keras.applications.MobileNetV2(input_shape=(65, 65, 3), alpha=0.35, weights=None, include_top=False)
    ascent = filters.ascend_filters(backbone, layer="block_2_add", filters=[0, 7], size_px=32, steps=2, seed=1)
    assert ascent.pictures.shape == (2, 32, 32, 3)
    before, after = cut_filters(backbone, "Conv1_relu", size_px=32)(np.zeros((1, 32, 32, 3), np.float32))
    np.testing.assert_allclose(np.clip(before, 0, 6), after, atol=1e-6)


def test_wrong_input_is_named(model: keras.Model) -> None:
    settings = {"layer": "conv2", "filters": [0], "size_px": SIDE, "steps": 1, "seed": 1}
    with pytest.raises(InputError, match="filter 5 is not in layer 'conv2': it has filters 0 to 4"):
        filters.ascend_filters(model, **{**settings, "filters": [5]})
    with pytest.raises(InputError, match="no filters of layer 'conv2'"):
        filters.ascend_filters(model, **{**settings, "filters": []})
    with pytest.raises(InputError, match="recipe is 'best'"):
        filters.ascend_filters(model, **settings, recipe="best")
    with pytest.raises(InputError, match="layer 'conv3'"):
        filters.ascend_filters(model, **{**settings, "layer": "conv3"})
    with pytest.raises(InputError, match="size_px is 4"):
        filters.ascend_filters(model, **{**settings, "size_px": 4})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.00004321, "4.3e-5"), (0.0003, "3.0e-4"), (-0.00052, "-5.2e-4"), (0.0123, "0.012"), (0.5, "0.50"),
        (1.26, "1.3"), (9.6, "9.6"), (9.99, "10"), (45.6, "46"), (1234.5, "1234"),
    ],
)  # fmt: skip
def test_activations_keep_two_significant_digits(value: float, text: str) -> None:
    assert filters.round_activation(value) == text
