"""Deletion and insertion, on networks whose answer is known."""

import numpy as np
import pytest

from cvd.vis.explaining import perturbation


def order(heat: np.ndarray, seed: int = 0) -> np.ndarray:
    return perturbation.order_pixels(heat, *heat.shape, rng=np.random.default_rng(seed))


def test_hottest_first_and_ties_at_random() -> None:
    heat = np.zeros((6, 7))
    heat[2, 3], heat[4, 1] = 5, 9
    found = order(heat)
    assert found[:2].tolist() == [4 * 7 + 1, 2 * 7 + 3]
    assert sorted(found) == list(range(42))
    assert found[2:].tolist() != sorted(found[2:])
    assert found.tolist() == order(heat).tolist() != order(heat, 1).tolist()


def test_pixels_go_and_come_in_equal_parts() -> None:
    image = np.random.default_rng(0).integers(0, 100, (10, 10, 3), dtype=np.uint8)
    ranks = order(np.random.default_rng(1).random((10, 10)))
    deleted = perturbation.delete_pixels(image, ranks, n_steps=4)
    np.testing.assert_array_equal(deleted[0], image)
    assert [(step == perturbation.GREY).all(axis=-1).sum() for step in deleted] == [0, 25, 50, 75, 100]
    inserted = perturbation.insert_pixels(image, ranks, n_steps=4)
    np.testing.assert_array_equal(inserted[-1], image)
    assert inserted[0].std() < image.std() / 2
    assert (inserted[1] == image).all(axis=-1).ravel()[ranks[:25]].all()


def test_areas_by_hand() -> None:
    assert perturbation.measure_area(np.ones(11)) == pytest.approx(1)
    assert perturbation.measure_area(np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)


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
    results = [perturbation.measure_faithfulness(predict, image, heat, signs=signs, seed=1) for heat in (good, bad)]
    (deletion, insertion), (other_deletion, other_insertion) = results
    assert deletion[0] < other_deletion[0]
    assert insertion[0] > other_insertion[0]
