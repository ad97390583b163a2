"""Galleries of images with what networks say of them, each with its heat map. No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cvd.runtime.vocabulary import add_article
from cvd.vis.explaining.geometry import Heat, View
from cvd.vis.sheets.drawing import FAINT, INK, MARGIN, RIGHT, SMALL, WRONG, Sheet, fit_picture
from cvd.vis.sheets.overlays import describe_hottest, find_hottest, find_ink, lay_bar, overlay_heat

TILE = 176  # longer side of a picture, px
SPACE = 14  # between pictures, px
BAR = 52  # room for the colour bar, px
# Of suspects.
SMALL_TILE = 132  # longer side of a picture, px
NEAR, APART = 6, 26  # between the pictures of an image, and between images, px
ABREAST = 3  # images in a row
N_CLASSES = 2  # whose heats stand beside an image


class Exhibit(NamedTuple):
    """An image, and what one network says of it."""

    name: str  # of its file
    image: np.ndarray  # (h, w, 3), uint8, at its own aspect ratio
    label: str  # what it is
    probability: float  # of the second class
    heat: Heat  # for what the network says
    is_contradicted: bool = False  # whether the heat for the other class is more


def make_exhibit(row: Any, image: np.ndarray, view: View) -> Exhibit:
    """Make an exhibit of a prediction: `row` has `path`, `label` (0 or 1), `probability`.

    The view's first heat is for what the network says.
    """
    name, (heat, *_) = row.path.rsplit("/", 1)[-1], view.heats
    return Exhibit(name, image, view.labels[row.label], row.probability, heat, view.is_contradicted(heat))


def draw_gallery(
    sections: Sequence[tuple[str, Sequence[Exhibit]]], *, variant: str, heat: str, labels: Sequence[str]
) -> np.ndarray:
    """Draw what one network gets wrong, doubts and gets right, the heat for what it says below each: (H, W, 3), uint8.

    `sections` are headings and their images; those without images say so. `heat`: what the heat is. `labels`:
    the two classes.
    """
    caption = f"Test images; below each, {heat} for what the network says; number: P({labels[1]})"
    columns = max(4, *(len(exhibits) for _, exhibits in sections))
    block, top = 38 + 2 * (TILE + 6) + 52, 92
    width = 2 * MARGIN + columns * (TILE + SPACE) - SPACE
    sheet = Sheet(top + len(sections) * block + BAR + MARGIN - 12, width)
    sheet.write_header(variant, caption, ink=find_ink(variant))
    for number, (heading, exhibits) in enumerate(sections):
        y = top + number * block
        sheet.rule(MARGIN, y, width - 2 * MARGIN)
        sheet.write(heading, MARGIN, y + 9, bold=True)
        if not exhibits:
            sheet.write("none", MARGIN, y + 40, ink=FAINT)
        for column, exhibit in enumerate(exhibits):
            x = MARGIN + column * (TILE + SPACE)
            small = fit_picture(exhibit.image, TILE)
            _lay_centred(sheet, small, x, y + 38)
            _lay_centred(sheet, _overlay_own(small, exhibit.heat), x, y + 38 + TILE + 6)
            _write_verdict(sheet, exhibit, labels, x, y + 38 + 2 * (TILE + 6))
    shown = [exhibit for _, exhibits in sections for exhibit in exhibits]
    _lay_own_bar(sheet, MARGIN, top + len(sections) * block, shown)
    return sheet.pixels


def draw_disagreements(
    rows: Sequence[Sequence[Exhibit]],
    *,
    variants: Sequence[str],
    heat: str,
    labels: Sequence[str],
    title: str = "Where the networks disagree",
    among: str = "",
) -> np.ndarray:
    """Draw images on which networks disagree, a row for each, with each network's heat: (H, W, 3), uint8.

    A row has one exhibit for each network, in the order of `variants`. `heat`: what the heat is. `labels`: the two
    classes. `among`: which images these were chosen among, if not all.
    """
    caption = f"{heat}, each for what that network says; number: P({labels[1]})"
    pitch, top, left = TILE + 56, 126, MARGIN + TILE + SPACE
    width = max(760, left + len(variants) * (TILE + SPACE) - SPACE + MARGIN)
    sheet = Sheet(top + max(1, len(rows)) * pitch + BAR + MARGIN - 12, width)
    sheet.write_header(title, caption)
    sheet.write(among, MARGIN, 74, ink=FAINT, room=width - 2 * MARGIN)
    for column, variant in enumerate(variants):
        x = left + column * (TILE + SPACE)
        sheet.write(variant, x, top - 26, bold=True, ink=find_ink(variant), room=TILE)
    if not rows:
        sheet.write("nowhere: they say the same of every image", MARGIN, top, ink=FAINT)
    for number, exhibits in enumerate(rows):
        y = top + number * pitch
        small = fit_picture(exhibits[0].image, TILE)
        _lay_centred(sheet, small, MARGIN, y)
        sheet.write(f"is {add_article(exhibits[0].label)}", MARGIN, y + TILE + 5, size_px=SMALL, ink=INK)
        sheet.write(exhibits[0].name, MARGIN, y + TILE + 23, size_px=SMALL, ink=FAINT, room=TILE)
        for column, exhibit in enumerate(exhibits):
            x = left + column * (TILE + SPACE)
            _lay_centred(sheet, _overlay_own(small, exhibit.heat), x, y)
            _write_verdict(sheet, exhibit._replace(name=""), labels, x, y + TILE)
    shown = [exhibit for exhibits in rows for exhibit in exhibits]
    _lay_own_bar(sheet, left, top + max(1, len(rows)) * pitch, shown)
    return sheet.pixels


def _write_verdict(sheet: Sheet, exhibit: Exhibit, labels: Sequence[str], x: int, y: int) -> None:
    """Write what the network says, in the colour of right or wrong, and which file it is."""
    says = labels[int(exhibit.probability > 0.5)]
    is_right = says == exhibit.label
    text = f"says {says}, {'right' if is_right else f'is {add_article(exhibit.label)}'}"
    sheet.write(text, x, y + 5, size_px=SMALL, bold=not is_right, ink=RIGHT if is_right else WRONG)
    sheet.write(f"{exhibit.probability:.3f}", x + TILE, y + 5, size_px=SMALL, ink=INK, anchor="ra")
    if exhibit.is_contradicted:
        sheet.write("its map contradicts it", x, y + 23, size_px=SMALL, ink=WRONG, room=TILE)
    else:
        sheet.write(exhibit.name, x, y + 23, size_px=SMALL, ink=FAINT, room=TILE)


def _overlay_own(image: np.ndarray, heat: Heat) -> np.ndarray:
    return overlay_heat(image, heat.map, largest=find_hottest([heat]))


def _lay_own_bar(sheet: Sheet, x: int, y: int, shown: Sequence[Exhibit]) -> None:
    """Lay the bar of colours: each map has a scale of its own."""
    high = describe_hottest([exhibit.heat for exhibit in shown], "each map by itself")
    lay_bar(sheet, x, y + 4, 2 * TILE + SPACE, high=high, overlaid=True)


def _lay_centred(sheet: Sheet, picture: np.ndarray, x: int, y: int) -> None:
    """Lay a picture into the middle of a square of TILE."""
    height, width = picture.shape[:2]
    sheet.lay(picture, x + (TILE - width) // 2, y + (TILE - height) // 2)


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
    width_of_one = (1 + N_CLASSES) * (SMALL_TILE + NEAR) - NEAR + APART
    pitch, top = SMALL_TILE + 66, 104
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
    lay_bar(
        sheet, MARGIN, top + n_rows * pitch, 2 * SMALL_TILE, high=describe_hottest(heats, "each pair"), overlaid=True
    )
    return sheet.pixels


def _draw_suspect(sheet: Sheet, suspect: Suspect, x: int, y: int, number: int) -> None:
    small, labels = fit_picture(suspect.image, SMALL_TILE), suspect.view.labels
    hottest = find_hottest(list(suspect.view.heats))
    pictures = [small, *(overlay_heat(small, heat.map, largest=hottest) for heat in suspect.view.heats)]
    for column, (picture, word) in enumerate(zip(pictures, (f"{number}", *labels), strict=True)):
        height, width = picture.shape[:2]
        left = x + column * (SMALL_TILE + NEAR)
        sheet.lay(picture, left + (SMALL_TILE - width) // 2, y + 18 + (SMALL_TILE - height) // 2)
        sheet.write(word, left, y, size_px=SMALL, ink=FAINT)
    says, share = labels[int(suspect.probability > 0.5)], suspect.probability
    text = f"called {labels[suspect.label]}, answer {says} {max(share, 1 - share):.1%}"
    is_wrong = suspect.is_suspect
    sheet.write(text, x, y + SMALL_TILE + 21, size_px=SMALL, bold=is_wrong, ink=WRONG if is_wrong else INK)
    sheet.write(suspect.path, x, y + SMALL_TILE + 39, size_px=SMALL, ink=FAINT, room=3 * SMALL_TILE)
