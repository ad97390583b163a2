"""Shares of heat and the pointing game."""

import numpy as np
import pytest

from cvd.vis.explaining.localisation import is_hit, measure_share


@pytest.fixture
def mask() -> np.ndarray:
    """The upper left quarter of 40 x 80."""
    mask = np.zeros((40, 80), bool)
    mask[:20, :40] = True
    return mask


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
