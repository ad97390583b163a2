"""Cascading randomisation."""

import keras
import numpy as np
import pytest
from classifiers import build, draw_images
from scipy.stats import spearmanr

from cvd.vis.explaining.methods import explain_images
from cvd.vis.explaining.randomisation import correlate_maps, randomise_from_top


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return build("plain")


def test_layers_lose_what_they_learnt_from_the_top(plain: keras.Model) -> None:
    before = [weight.copy() for weight in plain.get_weights()]
    changed = []
    for lowest, copy in randomise_from_top(plain, seed=1):
        same = {
            layer.name: all(
                np.array_equal(a, b)
                for a, b in zip(layer.get_weights(), plain.get_layer(layer.name).get_weights(), strict=True)
            )
            for layer in copy.layers
            if layer.get_weights()
        }
        changed.append((lowest, [name for name, kept in same.items() if not kept]))
    assert changed == [
        ("logit", ["logit"]),
        ("dense", ["dense", "logit"]),
        ("conv2", ["conv2", "dense", "logit"]),
        ("conv1", ["conv1", "conv2", "dense", "logit"]),
    ]
    for weight, kept in zip(plain.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_values_stay_and_places_change(plain: keras.Model) -> None:
    *_, (_, copy) = randomise_from_top(plain, seed=1, n_steps=2)
    for weight, other in zip(plain.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(np.sort(weight, axis=None), np.sort(other, axis=None))


def test_deep_networks_go_in_a_few_steps() -> None:
    model = build("mobilenet")
    names = [name for name, _ in randomise_from_top(model, seed=1, n_steps=4)]
    assert len(names) == 4
    assert (names[0], names[-1]) == ("logit", "Conv1")


def test_maps_change_with_the_weights(plain: keras.Model) -> None:
    maps = explain_images(plain, draw_images(), sign=-1)
    assert maps.any()
    *_, (_, copy) = randomise_from_top(plain, seed=1)
    assert correlate_maps(maps, explain_images(copy, draw_images(), sign=-1)).mean() < 0.8


def test_ranks_are_correlated_as_scipy_does() -> None:
    maps, others = np.random.default_rng(0).random((2, 3, 5, 6))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(correlate_maps(maps, others), expected)
    np.testing.assert_allclose(correlate_maps(maps, maps**3), 1)


def test_maps_without_ranks() -> None:
    flat, other = np.zeros((1, 3, 3)), np.arange(9.0).reshape(1, 3, 3)
    assert correlate_maps(flat, other).tolist() == [0]
    assert correlate_maps(flat, flat).tolist() == [1]
