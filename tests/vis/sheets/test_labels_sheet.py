"""The sheet of images whose labels look wrong."""

import numpy as np

from cvd.vis.explaining.geometry import Heat, View
from cvd.vis.sheets.drawing import MARGIN, WRONG
from cvd.vis.sheets.galleries import APART, NEAR, SMALL_TILE, Suspect, draw_suspects


def make_suspect(path: str, *, is_suspect: bool) -> Suspect:
    heats = [Heat(label, "conv", np.eye(4, dtype=np.float32)) for label in ("cat", "dog")]
    image = np.full((30, 60, 3), (20, 160, 90), np.uint8)
    return Suspect(path, image, 0, 0.9, is_suspect, View("labels", 0.9, heats, ("cat", "dog")))


def is_written(sheet: np.ndarray, ink: tuple[int, int, int]) -> bool:
    return bool((sheet == ink).all(axis=2).any())


def test_each_image_stands_beside_the_heat_for_both_classes() -> None:
    sheet = draw_suspects([make_suspect("a.jpg", is_suspect=True)] * 4, heat="Grad-CAM", n_images=1000)
    one = 3 * (SMALL_TILE + NEAR) - NEAR + APART
    assert sheet.shape[1] == 2 * MARGIN + 3 * one - APART
    middle = sheet[104 + 18 + SMALL_TILE // 2]
    for column in range(3):
        assert (middle[MARGIN + column * one + SMALL_TILE // 2] == (20, 160, 90)).all(), "the image in its own colours"
        heat = middle[MARGIN + column * one + SMALL_TILE + NEAR + SMALL_TILE // 2].astype(int)
        assert not (heat == (20, 160, 90)).all()
    assert (sheet[104 + 18 + SMALL_TILE // 2 + SMALL_TILE + 66, MARGIN + SMALL_TILE // 2] == (20, 160, 90)).all(), (
        "the second row"
    )


def test_suspects_alone_are_written_in_the_colour_of_wrong() -> None:
    assert is_written(draw_suspects([make_suspect("a.jpg", is_suspect=True)], heat="x", n_images=2), WRONG)
    assert not is_written(draw_suspects([make_suspect("a.jpg", is_suspect=False)], heat="x", n_images=2), WRONG)
