"""Checks of heat maps: shares of heat and the pointing game, deletion and insertion, cascading randomisation."""

import keras
import numpy as np
import pytest
from classifiers import build, draw_images
from scipy.stats import spearmanr

from cvd.vis.explaining import checks
from cvd.vis.explaining.methods import explain_images


@pytest.fixture
def mask() -> np.ndarray:
    """The upper left quarter of 40 x 80."""
    mask = np.zeros((40, 80), bool)
    mask[:20, :40] = True
    return mask


def test_even_heat_has_the_mask_s_share_of_the_area(mask: np.ndarray) -> None:
    assert checks.measure_share(np.full((4, 4), 3.0), mask) == pytest.approx(0.25)


def test_a_share_is_that_of_the_heat_and_not_of_the_area(mask: np.ndarray) -> None:
    heat = np.zeros((40, 80))
    heat[3, 5], heat[30, 70] = 3, 1
    assert checks.measure_share(heat, mask) == pytest.approx(0.75)
    assert checks.measure_share(np.zeros((4, 4)), mask) == 0


@pytest.mark.parametrize(("cell", "hit"), [((0, 0), True), ((1, 1), True), ((1, 2), False), ((2, 1), False)])
def test_the_hottest_cell_points(mask: np.ndarray, cell: tuple[int, int], hit: bool) -> None:
    heat = np.full((4, 4), 0.5)
    heat[cell] = 1
    assert checks.is_hit(heat, mask) is hit


@pytest.mark.parametrize(("tolerance", "hit"), [(0, False), (0.05, False), (0.07, True)])
def test_close_to_the_mask_counts_within_the_tolerance(mask: np.ndarray, tolerance: float, hit: bool) -> None:
    heat = np.zeros((40, 80))
    heat[10, 44] = 1  # five pixels from the last one inside
    assert checks.is_hit(heat, mask, tolerance=tolerance) is hit


def test_an_empty_map_points_nowhere(mask: np.ndarray) -> None:
    assert not checks.is_hit(np.zeros((4, 4)), np.ones_like(mask))


def order(heat: np.ndarray, seed: int = 0) -> np.ndarray:
    return checks.order_pixels(heat, *heat.shape, rng=np.random.default_rng(seed))


def test_hottest_first_and_ties_at_random() -> None:
    heat = np.zeros((6, 7))
    heat[2, 3], heat[4, 1] = 5, 9
    places = order(heat)
    assert places[:2].tolist() == [4 * 7 + 1, 2 * 7 + 3]
    assert sorted(places) == list(range(42))
    assert places[2:].tolist() != sorted(places[2:])
    assert places.tolist() == order(heat).tolist() != order(heat, 1).tolist()


def test_pixels_go_and_come_in_equal_parts() -> None:
    image = np.random.default_rng(0).integers(0, 100, (10, 10, 3), dtype=np.uint8)
    ranks = order(np.random.default_rng(1).random((10, 10)))
    deleted = checks.delete_pixels(image, ranks, n_steps=4)
    np.testing.assert_array_equal(deleted[0], image)
    assert [(step == checks.GREY).all(axis=-1).sum() for step in deleted] == [0, 25, 50, 75, 100]
    inserted = checks.insert_pixels(image, ranks, n_steps=4)
    np.testing.assert_array_equal(inserted[-1], image)
    assert inserted[0].std() < image.std() / 2
    assert (inserted[1] == image).all(axis=-1).ravel()[ranks[:25]].all()


def test_areas_by_hand() -> None:
    assert checks.measure_area(np.ones(11)) == pytest.approx(1)
    assert checks.measure_area(np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_map_of_what_counts_beats_one_of_what_does_not(sign: int) -> None:
    # The network answers to the brightness of the left third. Dark there speaks for the other class.
    def predict(images: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(images[:, :, :4].mean(axis=(1, 2, 3)) - 128) / 10))

    image = np.full((1, 12, 12, 3), 128, np.uint8)
    image[:, 3:9, :4] += np.uint8(100) if sign > 0 else np.uint8(256 - 100)
    good, bad = np.zeros((1, 12, 12)), np.zeros((1, 12, 12))
    good[:, 3:9, :4], bad[:, :, 8:] = 1, 1
    signs = np.array([sign])
    results = [checks.measure_faithfulness(predict, image, heat, signs=signs, seed=1) for heat in (good, bad)]
    (deletion, insertion), (other_deletion, other_insertion) = results
    assert deletion[0] < other_deletion[0]
    assert insertion[0] > other_insertion[0]


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return build("plain")


def test_layers_lose_what_they_learnt_from_the_top(plain: keras.Model) -> None:
    before = [weight.copy() for weight in plain.get_weights()]
    changed = []
    for lowest, copy in checks.randomise_from_top(plain, seed=1):
        same = {
            layer.name: all(
                np.array_equal(a, b)
                for a, b in zip(layer.get_weights(), plain.get_layer(layer.name).get_weights(), strict=True)
            )
            for layer in copy.layers
            if layer.get_weights()
        }
        changed.append((lowest, [name for name, is_same in same.items() if not is_same]))
    assert changed == [
        ("logit", ["logit"]),
        ("dense", ["dense", "logit"]),
        ("conv2", ["conv2", "dense", "logit"]),
        ("conv1", ["conv1", "conv2", "dense", "logit"]),
    ]
    for weight, original in zip(plain.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, original)


def test_values_stay_and_places_change(plain: keras.Model) -> None:
    *_, (_, copy) = checks.randomise_from_top(plain, seed=1, n_copies=2)
    for weight, other in zip(plain.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(np.sort(weight, axis=None), np.sort(other, axis=None))


def test_deep_networks_go_in_a_few_steps() -> None:
    model = build("mobilenet")
    names = [name for name, _ in checks.randomise_from_top(model, seed=1, n_copies=4)]
    assert len(names) == 4
    assert (names[0], names[-1]) == ("logit", "Conv1")


def test_maps_change_with_the_weights(plain: keras.Model) -> None:
    maps = explain_images(plain, draw_images(), sign=-1)
    assert maps.any()
    *_, (_, copy) = checks.randomise_from_top(plain, seed=1)
    assert checks.correlate_maps(maps, explain_images(copy, draw_images(), sign=-1)).mean() < 0.8


def test_ranks_are_correlated_as_scipy_does() -> None:
    maps, others = np.random.default_rng(0).random((2, 3, 5, 6))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(checks.correlate_maps(maps, others), expected)
    np.testing.assert_allclose(checks.correlate_maps(maps, maps**3), 1)


def test_maps_without_ranks() -> None:
    flat, other = np.zeros((1, 3, 3)), np.arange(9.0).reshape(1, 3, 3)
    assert checks.correlate_maps(flat, other).tolist() == [0]
    assert checks.correlate_maps(flat, flat).tolist() == [1]
