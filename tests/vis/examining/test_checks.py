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


def test_the_hottest_are_picked_and_ties_at_random() -> None:
    heat = np.zeros((6, 7), np.float32)
    heat[2, 3], heat[4, 1] = 5, 9

    def pick(n: int, seed: int = 0) -> np.ndarray:
        return checks.pick_hottest(heat, n, rng=np.random.default_rng(seed))

    assert [int(pick(n).sum()) for n in (0, 1, 5, 42)] == [0, 1, 5, 42]
    assert np.argwhere(pick(1)).tolist() == [[4, 1]]
    assert pick(5)[[2, 4], [3, 1]].all()
    assert np.array_equal(pick(5), pick(5))
    assert not np.array_equal(pick(5), pick(5, 1))


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_points_cover_all_shares_evenly(n_steps: int) -> None:
    points = checks.place_points(600, n_steps)
    assert points.shape == (600, n_steps)
    assert (np.floor(points * n_steps) == np.arange(n_steps)).all(), "one point in each part"
    # The largest distance of sorted points from an even grid: of random ones it would be some .03.
    for every in (slice(None), slice(None, None, 2), slice(1, None, 2)):  # cats and dogs come in turn
        some = np.sort(points[every].ravel())
        assert np.abs(some - (np.arange(some.size) + 0.5) / some.size).max() < 0.008


def shade(images: np.ndarray) -> np.ndarray:
    """A network that answers to the brightness of the left third."""
    return images[:, :, :4].mean(axis=(1, 2, 3)) / 255


def test_areas_are_those_under_the_whole_curves() -> None:
    """Of a white image, whose curves are known: straight, and bent where the map's pixels have all changed."""
    images = np.full((300, 12, 12, 3), 255, np.uint8)
    left, right, even = np.zeros((3, 12, 12), np.float32)
    left[:, :4], right[:, 4:] = 1, 1
    signs = np.ones(300, int)
    areas = checks.measure_faithfulness(shade, images, lambda _: [left, right, even], signs=signs, n_steps=2, seed=1)
    grey = checks.GREY / 255
    # Deletion by the left third falls from 1 to grey until a third is gone; by the rest it falls in the last third.
    expected = [grey + (1 - grey) * share for share in (1 / 6, 5 / 6, 1 / 2)]
    np.testing.assert_allclose(areas[0].mean(axis=1), expected, atol=0.01)
    np.testing.assert_allclose(areas[1], 1, rtol=1e-6)  # a white image, blurred, is white
    other = checks.measure_faithfulness(shade, images, lambda _: [left], signs=-signs, n_steps=2, seed=1)
    np.testing.assert_allclose(other[0], 1 - areas[0, :1])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_map_of_what_counts_beats_one_of_what_does_not(sign: int) -> None:
    # The network answers to the brightness of the left third. Dark there speaks for the other class.
    def predict(images: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(shade(images) * 255 - 128) / 10))

    images = np.full((40, 12, 12, 3), 128, np.uint8)
    images[:, 3:9, :4] += np.uint8(100) if sign > 0 else np.uint8(256 - 100)
    good, bad = np.zeros((2, 12, 12))
    good[3:9, :4], bad[:, 8:] = 1, 1
    signs = np.full(40, sign)
    areas = checks.measure_faithfulness(predict, images, lambda _: [good, bad], signs=signs, n_steps=2, seed=1)
    deletion, insertion = areas.mean(axis=2)
    assert deletion[0] < deletion[1] - 0.1
    assert insertion[0] > insertion[1]


def test_pictures_in_full_batches_are_those_one_by_one() -> None:
    def predict(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return shade(images)

    sizes: list[int] = []
    rng = np.random.default_rng(0)
    images, maps = rng.integers(0, 256, (9, 12, 14, 3), dtype=np.uint8), rng.random((9, 2, 12, 14), np.float32)
    signs = np.array([1, -1, 1] * 3)
    areas = checks.measure_faithfulness(predict, images, maps.__getitem__, signs=signs, n_steps=2, seed=4)
    assert sizes == [32, 32, 8], "9 images, 2 maps, 2 steps, deletion and insertion"
    points = checks.place_points(9, 2)
    for index, (image, sign) in enumerate(zip(images.astype(np.float32), signs, strict=True)):
        for number in range(2):
            picked = [
                checks.pick_hottest(maps[index, number], round(share * 168), rng=rng)[..., None]
                for share in points[index]
            ]
            blurred = checks.blur_image(image)
            deleted = shade(np.stack([np.where(pixels, checks.GREY, image) for pixels in picked]))
            inserted = shade(np.stack([np.where(pixels, image, blurred) for pixels in picked]))
            for kind, values in enumerate((deleted, inserted)):
                expected = float((values if sign > 0 else 1 - values).mean())
                assert areas[kind, number, index] == pytest.approx(expected, rel=1e-5)


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
    _, learnt = explainers.explain(images, [-1])
    for _ in checks.randomise_from_top(plain, seed=1):
        _, maps = explainers.explain(images, [-1])
        fresh = keras.models.clone_model(plain)
        fresh.set_weights(plain.get_weights())
        for method in methods:
            expected = explain_images(fresh, images, layer="conv2", method=method, sign=-1)
            np.testing.assert_allclose(maps[method]["conv2"][:, 0], expected, rtol=1e-5, atol=1e-7)
    before, after = (maps_of["gradcam"]["conv2"] for maps_of in (learnt, maps))
    assert checks.correlate_maps(before[:, 0], after[:, 0]).mean() < 0.8
    np.testing.assert_array_equal(explainers.explain(images, [-1])[1]["gradcam"]["conv2"], before)


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
