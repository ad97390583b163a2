"""The sheet of images on which a method's maps contradict the network."""

import dataclasses

import numpy as np
import pytest

from cvd.vis.explaining.heatmaps import HeatMaps
from cvd.vis.sheets.contradictions import choose_contradictions, describe_contradictions, draw_contradictions


def make_maps(title: str, totals: list[tuple[float, float]]) -> HeatMaps:
    """Maps of images a, b, ... of which the first two are said to be dogs: of the answer, then of the other class."""
    cells = np.zeros((len(totals), 2, 2, 2), np.float32)
    cells[:, :, 0, 1] = totals
    signs = np.array([[1, -1]] * 2 + [[-1, 1]] * (len(totals) - 2), np.int8)
    probabilities = np.where(signs[:, 0] > 0, 0.9, 0.1)
    paths = [f"test/{letter}.jpg" for letter in "abcdefgh"[: len(totals)]]
    words = title, "logits", "note", ("cat", "dog")
    return HeatMaps("baseline", *words, paths, probabilities, signs, {"conv4": cells}, {"conv4": None})


TEXTBOOK = make_maps("Grad-CAM", [(1, 3), (5, 1), (0, 2), (2, 1)])
DEFAULT = make_maps("HiResCAM+", [(3, 1)] * 4)


def test_the_most_contradicted_come_first_cats_and_dogs_in_turn() -> None:
    assert choose_contradictions(TEXTBOOK, 3, among=TEXTBOOK.paths) == ["test/c.jpg", "test/a.jpg", "test/d.jpg"]


def test_maps_that_contradict_are_counted() -> None:
    assert describe_contradictions(TEXTBOOK) == "Grad-CAM: 2 of 4 (50%)"
    assert describe_contradictions(DEFAULT) == "HiResCAM+: 0 of 4 (0%)"


@pytest.mark.parametrize("default", [DEFAULT, TEXTBOOK])
def test_both_methods_stand_side_by_side_unless_they_are_one(default: HeatMaps) -> None:
    loaded: list[str] = []

    def load(path: str) -> np.ndarray:
        loaded.append(path)
        return np.full((30, 40, 3), 90, np.uint8)

    sheet = draw_contradictions({"baseline": [TEXTBOOK, default]}, load, n=2)
    assert loaded == ["test/c.jpg", "test/a.jpg"]
    n_maps = 2 if default is TEXTBOOK else 4
    assert sheet.shape[1] == 2 * 24 + (1 + n_maps) * (196 + 14) - 14
    assert (sheet == (176, 62, 0)).all(axis=2).any(), "a contradiction is written in its colour"


def test_images_without_maps_by_the_other_method_are_not_shown() -> None:
    """A slow method has maps of some images only: here not of the most contradicted dog."""
    some = make_maps("Score-CAM", [(3, 1)] * 4)
    some = dataclasses.replace(some, paths=some.paths[1:], maps={"conv4": some.maps["conv4"][1:]})
    some = dataclasses.replace(some, probabilities=some.probabilities[1:], signs=some.signs[1:])
    loaded: list[str] = []

    def load(path: str) -> np.ndarray:
        loaded.append(path)
        return np.full((30, 40, 3), 90, np.uint8)

    draw_contradictions({"baseline": [TEXTBOOK, some]}, load, n=2)
    assert loaded == ["test/c.jpg", "test/b.jpg"]
