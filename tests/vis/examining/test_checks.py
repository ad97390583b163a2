"""Checks of heat maps: shares of heat and the pointing game, deletion and insertion, cascading randomisation."""

import cv2
import keras
import numpy as np
import pytest
from classifiers import build, draw_images
from scipy.stats import rankdata, spearmanr

from cvd.vis.examining import checks
from cvd.vis.explaining.methods import Explainers, explain_images


@pytest.fixture
def mask() -> np.ndarray:
    """The upper left quarter of 40 x 80."""
    mask = np.zeros((40, 80), bool)
    mask[:20, :40] = True
    return mask


def measure_share(heat: np.ndarray, mask: np.ndarray) -> float:
    return float(checks.measure_shares(heat[None], [mask])[0, 0])


def is_hit(heat: np.ndarray, mask: np.ndarray, tolerance: float = checks.TOLERANCE) -> bool:
    spot = checks.find_spot(heat)
    return spot is not None and checks.is_near(spot, mask, tolerance=tolerance)


def test_even_heat_has_the_mask_s_share_of_the_area(mask: np.ndarray) -> None:
    assert measure_share(np.full((4, 4), 3.0), mask) == pytest.approx(0.25)


def test_a_share_is_that_of_the_heat_and_not_of_the_area(mask: np.ndarray) -> None:
    heat = np.zeros((40, 80))
    heat[3, 5], heat[30, 70] = 3, 1
    assert measure_share(heat, mask) == pytest.approx(0.75)
    assert measure_share(np.zeros((4, 4)), mask) == 0


@pytest.mark.parametrize(("cell", "hit"), [((0, 0), True), ((1, 1), True), ((1, 2), False), ((2, 1), False)])
def test_the_hottest_cell_points(mask: np.ndarray, cell: tuple[int, int], hit: bool) -> None:
    heat = np.full((4, 4), 0.5)
    heat[cell] = 1
    assert is_hit(heat, mask) is hit


@pytest.mark.parametrize(("tolerance", "hit"), [(0, False), (0.05, False), (0.07, True)])
def test_close_to_the_mask_counts_within_the_tolerance(mask: np.ndarray, tolerance: float, hit: bool) -> None:
    heat = np.zeros((40, 80))
    heat[10, 44] = 1  # five pixels from the last one inside
    assert is_hit(heat, mask, tolerance=tolerance) is hit


def test_an_empty_map_points_nowhere(mask: np.ndarray) -> None:
    assert not is_hit(np.zeros((4, 4)), np.ones_like(mask))


def test_shares_of_several_maps_and_masks_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.random((5, 9, 9)), list(rng.random((2, 40, 30)) > 0.5)
    expected = [
        [cv2.resize(heat, (30, 40))[mask].sum() / cv2.resize(heat, (30, 40)).sum() for heat in maps] for mask in masks
    ]
    np.testing.assert_allclose(checks.measure_shares(maps, masks), expected, rtol=1e-5)


@pytest.mark.parametrize("tolerance", [0, 0.03, 0.1, 0.25])
def test_near_is_what_the_distance_transform_says(tolerance: float) -> None:
    mask = np.random.default_rng(3).random((40, 60)) > 0.995
    distances = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = [
        [checks.is_near(((row + 0.5) / 40, (column + 0.5) / 60), mask, tolerance=tolerance) for column in range(60)]
        for row in range(40)
    ]
    np.testing.assert_array_equal(near, distances <= tolerance * 60)


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
    assert checks.measure_areas(np.ones(11)) == pytest.approx(1)
    assert checks.measure_areas(np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)


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
    deletion, insertion = checks.measure_faithfulness(predict, image, [good, bad], signs=signs, seed=1)
    assert deletion[0, 0] < deletion[1, 0]
    assert insertion[0, 0] > insertion[1, 0]


def test_curves_in_full_batches_are_those_one_by_one() -> None:
    def predict(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return 1 / (1 + np.exp(-(images[:, :6].mean(axis=(1, 2, 3)) - images[:, 6:].mean(axis=(1, 2, 3))) / 20))

    sizes: list[int] = []
    rng = np.random.default_rng(0)
    images, maps = rng.integers(0, 256, (3, 12, 14, 3), dtype=np.uint8), list(rng.random((2, 3, 5, 5)))
    signs = np.array([1, -1, 1])
    areas = checks.measure_faithfulness(predict, images, maps, signs=signs, seed=4)
    assert sizes == [32, 32, 32, 19], "grey; of each image itself, blurred, and 2 maps' 2 curves of 9 steps between"
    for number, heats in enumerate(maps):
        for index, (image, sign) in enumerate(zip(images, signs, strict=True)):
            ranks = checks.order_pixels(heats[index], 12, 14, rng=np.random.default_rng([4, index]))
            for kind, change in enumerate((checks.delete_pixels, checks.insert_pixels)):
                curve = predict(change(image, ranks))
                expected = checks.measure_areas(curve if sign > 0 else 1 - curve)
                assert areas[kind, number, index] == pytest.approx(expected)


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return build("plain")


def test_layers_lose_what_they_learnt_from_the_top_and_get_it_back(plain: keras.Model) -> None:
    layers = [layer for layer in plain.layers if layer.get_weights()]
    before = {layer.name: layer.get_weights() for layer in layers}
    shuffled = []
    for lowest in checks.randomise_from_top(plain, seed=1):
        changed = [
            layer.name for layer in layers if not all(map(np.array_equal, layer.get_weights(), before[layer.name]))
        ]
        shuffled.append((lowest, changed))
    assert shuffled == [
        ("logit", ["logit"]),
        ("dense", ["dense", "logit"]),
        ("conv2", ["conv2", "dense", "logit"]),
        ("conv1", ["conv1", "conv2", "dense", "logit"]),
    ]
    for layer in layers:
        for weight, original in zip(layer.get_weights(), before[layer.name], strict=True):
            np.testing.assert_array_equal(weight, original)


def test_values_stay_and_places_change(plain: keras.Model) -> None:
    before = plain.get_weights()
    for _ in checks.randomise_from_top(plain, seed=1, n_steps=2):
        for weight, other in zip(before, plain.get_weights(), strict=True):
            np.testing.assert_array_equal(np.sort(weight, axis=None), np.sort(other, axis=None))


def test_learnt_weights_come_back_after_an_error(plain: keras.Model) -> None:
    before = plain.get_weights()
    steps = checks.randomise_from_top(plain, seed=1)
    next(steps)
    with pytest.raises(RuntimeError, match="stop"):
        steps.throw(RuntimeError("stop"))
    for weight, other in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_deep_networks_go_in_a_few_steps() -> None:
    names = list(checks.randomise_from_top(build("mobilenet"), seed=1, n_steps=4))
    assert len(names) == 4
    assert (names[0], names[-1]) == ("logit", "Conv1")


def test_compiled_maps_follow_the_weights_as_a_fresh_network_s_do(plain: keras.Model) -> None:
    """One compiled graph for all steps, beside a network made anew with the same shuffled weights."""
    methods = {name: ["conv2"] for name in ("gradcam", "gradcam++", "hirescam")}
    explainers, images = Explainers(plain, methods), draw_images()
    _, learnt = explainers.explain(images, -1)
    for _ in checks.randomise_from_top(plain, seed=1):
        _, maps = explainers.explain(images, -1)
        fresh = keras.models.clone_model(plain)
        fresh.set_weights(plain.get_weights())
        for method in methods:
            expected = explain_images(fresh, images, layer="conv2", method=method, sign=-1)
            np.testing.assert_allclose(maps[method]["conv2"], expected, rtol=1e-5, atol=1e-7)
    assert checks.correlate_maps(learnt["gradcam"]["conv2"], maps["gradcam"]["conv2"]).mean() < 0.8
    np.testing.assert_array_equal(explainers.explain(images, -1)[1]["gradcam"]["conv2"], learnt["gradcam"]["conv2"])


def test_ranks_are_correlated_as_scipy_does() -> None:
    maps, others = np.random.default_rng(0).random((2, 3, 5, 6))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(checks.correlate_maps(maps, others), expected)
    np.testing.assert_allclose(checks.correlate_maps(maps, maps**3), 1)


def test_ranks_are_those_of_scipy() -> None:
    rows = np.random.default_rng(3).integers(0, 9, (5, 40)).astype(np.float32)  # with equal values
    assert np.array_equal(checks.rank_values(rows), rankdata(rows, axis=1))


def test_maps_without_ranks() -> None:
    flat, other = np.zeros((1, 3, 3)), np.arange(9.0).reshape(1, 3, 3)
    assert checks.correlate_maps(flat, other).tolist() == [0]
    assert checks.correlate_maps(flat, flat).tolist() == [1]
