"""Gradient ascent: its gradient, its rise, its independence, dead filters."""

import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvd.runtime.errors import InputError
from cvd.vis.explaining.graphs import cut_filters
from cvd.vis.filters import ascent as filters
from cvd.vis.filters import climbing, spectra
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


@pytest.mark.parametrize("is_bare", [True, False])
def test_the_gradient_is_that_of_finite_differences(model: keras.Model, is_bare: bool) -> None:
    respond = make_responder(cut_filters(model, "conv2", size_px=SIDE))
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32)
    chosen = tf.constant([1, 3], tf.int64)
    values, climbed, gradients = climbing.differentiate(respond, tf.constant(images), chosen, is_bare=is_bare)
    np.testing.assert_allclose(climbed, values, rtol=1e-6)  # both fire, so that the two are the same
    direction = gradients.numpy() / np.abs(gradients).max()
    step = 0.5
    above, *_ = climbing.differentiate(respond, tf.constant(images + step * direction), chosen, is_bare=False)
    below, *_ = climbing.differentiate(respond, tf.constant(images - step * direction), chosen, is_bare=False)
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
    assert (ascent.highest[alive] > ascent.objectives[alive, 0]).all()
    np.testing.assert_array_equal(ascent.highest, np.nanmax(ascent.objectives, axis=1))


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
    np.testing.assert_allclose(mean, ascent.highest[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("recipe", filters.RECIPES)
def test_a_dead_filter_is_reported(model: keras.Model, recipe: str) -> None:
    ascent = filters.ascend_filters(model, layer="conv2", filters=[4, 1], size_px=SIDE, steps=5, seed=1, recipe=recipe)
    assert ascent.is_dead.tolist()[0]
    assert ascent.highest[0] == 0
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
    meeting, measure = threading.Barrier(3, timeout=30), filters._rank_patches

    def measure_together(*arguments: Any) -> Any:
        meeting.wait()  # breaks where the three batches are not on their way at the same time
        return measure(*arguments)

    monkeypatch.setattr(filters, "_rank_patches", measure_together)
    for _ in range(5):
        found = filters.ascend_filters(model, recipe=recipe, at_once=3, **settings)
        for each, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(each, other)


@pytest.mark.parametrize("draw", [spectra.draw_white_noise, spectra.draw_clouds])
def test_noise_depends_on_seed_and_filter_only(draw: Callable[..., np.ndarray]) -> None:
    noise = draw(np.array([3, 5]), 8, 1)
    np.testing.assert_array_equal(noise[1], draw(np.array([5]), 8, 1)[0])
    assert np.abs(noise - spectra.GREY).max() <= 127
    assert not np.array_equal(noise[1], draw(np.array([5]), 8, 2)[0])


def test_decorrelated_steps_climb() -> None:
    # The weights are positive, so the weighed gradient never points down.
    gradients = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32)
    weighed = spectra.decorrelate(tf.constant(gradients), spectra.weigh_frequencies(9)).numpy()
    assert weighed.shape == gradients.shape
    assert ((weighed * gradients).sum(axis=(1, 2, 3)) > 0).all()


def test_a_flat_spectrum_and_its_inverse_change_colours_only() -> None:
    gradients = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    flat = spectra.decorrelate(tf.constant(gradients), np.ones((8, 5), np.float32)).numpy()
    np.testing.assert_allclose(flat, gradients @ (spectra.COLOUR @ spectra.COLOUR.T), atol=1e-5)


def test_an_ascent_stops_where_nothing_rises() -> None:
    # A response that rises to 100 within four steps of 30, and no further: patience ends it.
    def step(pictures: np.ndarray, filters: np.ndarray, size: np.float32) -> tuple[tf.Tensor, ...]:
        level = tf.reduce_mean(pictures, axis=(1, 2, 3))
        return level, level, tf.ones_like(level), tf.minimum(pictures + 30 * size, 100.0)

    plan = climbing.Plan(np.zeros((21, 2), np.int32), np.append(np.ones(20), 0).astype(np.float32), patience=3)
    climb = climbing.climb(step, np.zeros((1, 4, 4, 3), np.float32), np.array([0]), plan=plan, start="noise")
    assert climb.objectives[0, :8].tolist() == [0, 30, 60, 90, 100, 100, 100, 100]
    assert np.isnan(climb.objectives[0, 8:]).all()
    assert climb.highest[0] == 100
    assert (climb.pictures == 100).all()


def test_the_higher_ascent_is_kept() -> None:
    def make(highest: list[float], n_rounds: int, start: str) -> climbing.Climb:
        n = len(highest)
        pictures = np.full((n, 2, 2, 3), highest[0], np.float32)
        return climbing.Climb(pictures, np.array(highest), np.zeros((n, n_rounds)), np.ones(n), np.full(n, start, "U5"))

    best = climbing.keep_best(make([1, 5, 2], 4, "noise"), make([3, 1], 2, "patch"), np.array([0, 2]))
    assert best.highest.tolist() == [3, 5, 2]
    assert best.starts.tolist() == ["patch", "noise", "noise"]
    assert np.isnan(best.objectives).sum(axis=1).tolist() == [2, 0, 0]


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
