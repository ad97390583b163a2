"""A sheet of images whose given labels look wrong, with the evidence for both classes. No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvd.vis.explaining.geometry import View
from cvd.vis.sheets.drawing import FAINT, INK, MARGIN, SMALL, WRONG, Sheet, fit_picture
from cvd.vis.sheets.overlays import describe_hottest, find_hottest, lay_bar, overlay_heat

TILE = 132  # longer side of a picture, px
SPACE, APART = 6, 26  # between the pictures of an image, and between images, px
ABREAST = 3  # images in a row
N_CLASSES = 2  # whose heats stand beside an image


class Suspect(NamedTuple):
    """An image, and what classifiers say of it that were trained without it."""

    path: str  # as in the manifest
    image: np.ndarray  # (h, w, 3), uint8
    label: int  # as it is given
    probability: float  # of the second class
    is_suspect: bool  # whether its label is likely wrong
    view: View  # with a heat for each class


def draw_suspects(suspects: Sequence[Suspect], *, heat: str, n_images: int) -> np.ndarray:
    """Draw images, the most suspicious first, each with the heat for one class and for the other: (H, W, 3), uint8.

    `heat`: what the heat is. `n_images`: among so many these are the worst.
    """
    width_of_one = (1 + N_CLASSES) * (TILE + SPACE) - SPACE + APART
    pitch, top = TILE + 66, 104
    n_rows = max(1, -(-len(suspects) // ABREAST))
    sheet = Sheet(top + n_rows * pitch + 30 + MARGIN, 2 * MARGIN + ABREAST * width_of_one - APART)
    caption = (
        f"The {len(suspects)} most suspicious of {n_images:,}; heat: {heat}, by a classifier trained without the image"
    )
    sheet.write_header("Labels that look wrong", caption)
    for number, suspect in enumerate(suspects):
        x, y = MARGIN + number % ABREAST * width_of_one, top + number // ABREAST * pitch
        _draw_suspect(sheet, suspect, x, y, number + 1)
    heats = [heat for suspect in suspects for heat in suspect.view.heats]
    lay_bar(sheet, MARGIN, top + n_rows * pitch, 2 * TILE, high=describe_hottest(heats, "each pair"), overlaid=True)
    return sheet.pixels


def _draw_suspect(sheet: Sheet, suspect: Suspect, x: int, y: int, number: int) -> None:
    small, labels = fit_picture(suspect.image, TILE), suspect.view.labels
    hottest = find_hottest(list(suspect.view.heats))
    pictures = [small, *(overlay_heat(small, heat.map, largest=hottest) for heat in suspect.view.heats)]
    for column, (picture, word) in enumerate(zip(pictures, (f"{number}", *labels), strict=True)):
        height, width = picture.shape[:2]
        left = x + column * (TILE + SPACE)
        sheet.lay(picture, left + (TILE - width) // 2, y + 18 + (TILE - height) // 2)
        sheet.write(word, left, y, size_px=SMALL, ink=FAINT)
    says, share = labels[int(suspect.probability > 0.5)], suspect.probability
    text = f"called {labels[suspect.label]}, answer {says} {max(share, 1 - share):.1%}"
    is_wrong = suspect.is_suspect
    sheet.write(text, x, y + TILE + 21, size_px=SMALL, bold=is_wrong, ink=WRONG if is_wrong else INK)
    sheet.write(suspect.path, x, y + TILE + 39, size_px=SMALL, ink=FAINT, room=3 * TILE)
