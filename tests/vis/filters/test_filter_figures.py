"""Figures of ascents, and what sheets say of them."""

import numpy as np
import pytest

from cvd.vis.filters import figures
from cvd.vis.filters.ascent import Ascent
from cvd.vis.filters.patches import Patches

ASCENT = Ascent(
    filters=np.array([0, 3, 7, 9]),
    pictures=np.zeros((4, 8, 8, 3), np.float32),
    objectives=np.array([[0.5, 2.4, np.nan], [0.1, 0.3, 0.6], [0, 0, 0], [0, 1, 2]], np.float32),
    highest=np.array([2.4, 0.6, 0, 2], np.float32),
    starts=np.array(["noise", "patch", "noise", "signs"]),
    is_dead=np.array([False, False, True, False]),
    strongest=np.array([[2, 1], [0.6, 0.5], [0, 0], [0, 0]], np.float32),
    ranks=np.array([[1, 0], [0, 1], [0, 1], [0, 1]]),
    kernels=np.zeros((4, 0, 0, 3)),
)
PATCHES = Patches(np.array([[0, 1]] * 4), np.arange(16).reshape(4, 2, 2), np.zeros((4, 2, 8, 8, 3), np.uint8))


def test_a_line_for_each_filter() -> None:
    expected = ["0: 2.4, 1.20 × patch", "3: 0.60, 1.00 × patch, from it", "7: dead", "9: 2.0, patches 0"]
    assert figures.label_filters(ASCENT) == expected


def test_patches_are_named_from_the_strongest_on() -> None:
    found = figures.describe_layer(ASCENT, PATCHES, n_filters=64, paths=["a.jpg", "b.jpg"])
    assert found["n_dead"] == 1
    first = found["filters"][0]
    assert [patch["path"] for patch in first["patches"]] == ["b.jpg", "a.jpg"]
    assert first["patches"][0] == {"path": "b.jpg", "row": 2, "column": 3, "objective": 2.0}
    assert first["objectives"] == [0.5, 2.4]
    assert (first["before"], first["after"]) == (0.5, pytest.approx(2.4))


def test_the_summary_counts_pictures_below_their_patch() -> None:
    layer = figures.describe_layer(ASCENT, PATCHES, n_filters=64, paths=["a.jpg", "b.jpg"])
    assert "4 filters of 1 layers, 1 dead; 0 pictures" in figures.summarise("baseline", {"conv1": layer})
    layer["filters"][0]["after"] = 1.9
    assert "1 dead; 1 pictures" in figures.summarise("baseline", {"conv1": layer})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.00004321, "4.3e-5"), (0.0003, "3.0e-4"), (-0.00052, "-5.2e-4"), (0.0123, "0.012"), (0.5, "0.50"),
        (1.26, "1.3"), (9.6, "9.6"), (9.99, "10"), (45.6, "46"), (1234.5, "1234"),
    ],
)  # fmt: skip
def test_activations_keep_two_significant_digits(value: float, text: str) -> None:
    assert figures.round_activation(value) == text
