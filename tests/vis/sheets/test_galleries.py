"""Galleries and single channels can be drawn of anything."""

import numpy as np
import pytest

from cvd.vis.explaining.geometry import Heat
from cvd.vis.sheets.channels import draw_channel
from cvd.vis.sheets.drawing import MARGIN
from cvd.vis.sheets.galleries import SPACE, TILE, Exhibit, draw_disagreements, draw_gallery
from cvd.vis.sheets.overlays import overlay_heat


def make_exhibit(shape: tuple[int, int], probability: float = 0.9) -> Exhibit:
    return Exhibit(
        "cat.3.jpg" * 9, np.full((*shape, 3), 90, np.uint8), "cat", probability, Heat("dog", "conv4", np.eye(3))
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (900, 20)])
def test_any_photo_has_a_place(shape: tuple[int, int]) -> None:
    found = [make_exhibit(shape), make_exhibit(shape, 0.1)]
    sheet = draw_gallery([("Mistakes", found), ("Hits", [])], variant="baseline", heat="h", labels=("cat", "dog"))
    assert sheet.dtype == np.uint8
    rows = draw_disagreements([found, found], variants=["baseline", "mine"], heat="h", labels=("cat", "dog"))
    assert rows.shape[0] > 2 * TILE


def test_a_colour_bar_says_what_the_heat_is() -> None:
    found = [make_exhibit((40, 30))]
    width = 2 * TILE + SPACE
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (12, 1))
    colours = overlay_heat(np.full((12, width, 3), 150, np.uint8), ramp)
    for sheet, left in (
        (draw_gallery([("Mistakes", found)], variant="baseline", heat="h", labels=("cat", "dog")), MARGIN),
        (draw_disagreements([found], variants=["baseline"], heat="h", labels=("cat", "dog")), MARGIN + TILE + SPACE),
    ):
        bars = (sheet[:, left : left + width] == colours[0]).all(axis=(1, 2))
        assert bars.sum() == 12
        assert (sheet[bars.nonzero()[0][-1] + 1 :] < 160).any()  # the words under it


def test_a_sheet_says_among_which_images_its_own_were_chosen() -> None:
    rows, variants = [[make_exhibit((40, 30))]], ["baseline"]
    plain, limited = (
        draw_disagreements(rows, variants=variants, heat="h", labels=("cat", "dog"), among=text)
        for text in ("", "9 of 12")
    )
    written = (plain != limited).any(axis=(1, 2)).nonzero()[0]
    assert 74 <= written[0] < written[-1] < 100  # between the caption and the variants' names


def test_nothing_to_show_is_said() -> None:
    empty = draw_disagreements([], variants=["baseline", "augmented"], heat="h", labels=("cat", "dog"))
    assert (empty < 128).any()
    assert draw_gallery([("Mistakes", [])], variant="mine", heat="h", labels=("cat", "dog")).shape[1] > 4 * TILE


def test_a_variant_s_name_is_in_its_colour() -> None:
    sheet = draw_gallery([("Mistakes", [make_exhibit((9, 9))])], variant="augmented", heat="h", labels=("cat", "dog"))
    assert (sheet[:50] == (0x00, 0x67, 0xA5)).all(axis=-1).any()


def test_a_channel_shows_its_own_numbers_and_a_dead_one_is_plain() -> None:
    activations = np.random.default_rng(0).normal(size=(7, 9, 2)).astype(np.float32)
    activations[..., 1] = 3
    picture = np.zeros((20, 30, 3), np.uint8)
    live, dead = (draw_channel(picture, activations, layer="conv1", channel=i, caption="c") for i in (0, 1))
    right = slice(24 + 360 + 20, 24 + 360 + 20 + 360)
    assert len(np.unique(live[100:300, right].reshape(-1, 3), axis=0)) > 30
    assert len(np.unique(dead[100:300, right].reshape(-1, 3), axis=0)) == 1
