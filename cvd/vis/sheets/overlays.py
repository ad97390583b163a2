"""Heat maps on photos, and sheets of them. Drawing only: arrays in, pictures out, no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.colors import to_rgb

from cvd.vis.charts.themes import choose_colours
from cvd.vis.explaining.layers import PIXELS
from cvd.vis.sheets.drawing import (
    FAINT,
    MARGIN,
    SMALL,
    TEXT,
    TITLE,
    Sheet,
    fit_picture,
    look_up_colours,
    measure_text,
    shorten_text,
)

COLOURS = "inferno"
OPACITY = 0.65  # of the hottest spot
LONGEST = 2048  # photos with a longer side are drawn at this, px
TILE = 196  # longer side of a picture on a sheet, px
PANEL = 320  # of a single heat map, px
SPACE = 14  # between pictures, px
LABEL = 176  # of a row, px
PIXEL_SHARE = 99  # percent of the pixels; a few of them outshine the rest by far, which would look empty


class Heat(NamedTuple):
    """A heat map of an image."""

    heading: str  # which class, and for a sheet of networks which depth
    layer: str
    map: np.ndarray  # (h', w'), >= 0
    unit: str = "logits"  # of the map


class Row(NamedTuple):
    """What one network sees in an image."""

    title: str
    lines: Sequence[str]  # what it says of the image
    heats: Sequence[Heat]


def upsample_map(heat: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map at an image's size, bilinear, whole map on whole image: (height, width), float32, never negative."""
    return cv2.resize(np.asarray(heat, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def normalise_map(heat: np.ndarray, *, largest: float | None = None) -> np.ndarray:
    """A map over its largest value, 0..1, or over one given; an empty map (all 0) stays empty."""
    largest = float(np.max(heat, initial=0)) if largest is None else largest
    return np.asarray(heat, np.float32) / np.float32(largest) if largest > 0 else np.zeros_like(heat, np.float32)


def colour_map(heat: np.ndarray) -> np.ndarray:
    """A normalised map (h, w), 0..1, in colours, (h, w, 3) uint8."""
    return look_up_colours(COLOURS)[np.clip(np.rint(heat * 255), 0, 255).astype(np.uint8)]


def overlay_heat(image: np.ndarray, heat: np.ndarray, *, largest: float | None = None) -> np.ndarray:
    """A photo with heat on it: the more heat the more opaque, so that the photo stays readable.

    Args:
        image: (h, w, 3), uint8, at its own size and aspect ratio.
        heat: (h', w'), >= 0, of any size.
        largest: the value that is shown as hottest, and so is all above; None: the map's largest.

    Returns:
        (h, w, 3), uint8; the photo, paled, where the map is empty.
    """
    strength = np.minimum(normalise_map(upsample_map(heat, *image.shape[:2]), largest=largest), 1)[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    paled = 0.45 * image + 0.55 * grey
    colours = colour_map(0.25 + 0.65 * strength[..., 0]).astype(np.float32)
    opacity = OPACITY * strength**0.8
    return np.clip(np.rint(paled * (1 - opacity) + colours * opacity), 0, 255).astype(np.uint8)


def limit_size(image: np.ndarray) -> np.ndarray:
    """A photo whose longer side is at most 2,048 px, in its own aspect ratio."""
    return fit_picture(image, LONGEST) if max(image.shape[:2]) > LONGEST else image


def draw_heat(image: np.ndarray, heat: Heat, *, title: str, caption: str) -> np.ndarray:
    """An image, one heat map with its colour bar, and the overlay, side by side.

    Args:
        image: (h, w, 3), uint8, at its own aspect ratio.
        heat: of this image.
        title: the image's name.
        caption: network and what it says.

    Returns:
        (H, W, 3), uint8.
    """
    small = fit_picture(image, PANEL)
    height, width = small.shape[:2]
    column, top = max(width, 220) + SPACE, 96
    sheet = Sheet(top + height + 64 + MARGIN, 2 * MARGIN + 3 * column - SPACE)
    room = 3 * column - SPACE
    sheet.write(shorten_text(title, room, TITLE, bold=True), MARGIN, 20, size_px=TITLE, bold=True)
    sheet.write(shorten_text(f"{caption}   ·   {heat.layer}   ·   {heat.heading}", room, TEXT), MARGIN, 54, ink=FAINT)
    hottest = find_hottest([heat])
    coloured = colour_map(normalise_map(upsample_map(heat.map, height, width), largest=hottest))
    for number, picture in enumerate((small, coloured, overlay_heat(small, heat.map, largest=hottest))):
        sheet.lay(picture, MARGIN + number * column, top)
    if np.any(heat.map > 0):
        high = f"{hottest:.3g} {heat.unit}".rstrip() + " and above" * bool(hottest < np.max(heat.map))
        lay_bar(sheet, MARGIN + column, top + height + 12, column - SPACE, high=high)
    else:
        sheet.write(_describe_map(heat), MARGIN + column, top + height + 12, size_px=SMALL, ink=FAINT)
    return sheet.pixels


def draw_comparison(image: np.ndarray, rows: Sequence[Row], *, title: str, caption: str) -> np.ndarray:
    """One image, and what networks see in it: a row for each network, a column for each layer and class.

    The classes of a layer share their scale, so that a class for which a network has no evidence to speak of stays
    dark. Layers and networks do not: logits of different depths and networks have different sizes.

    Args:
        image: (h, w, 3), uint8, at its own aspect ratio.
        rows: all with as many heats.
        title: the image's name.
        caption: what the heat is.

    Returns:
        (H, W, 3), uint8.
    """
    small = fit_picture(image, TILE)
    height = small.shape[0]
    pitch, step, top = height + 60, TILE + SPACE, 118
    columns = 1 + max(len(row.heats) for row in rows)
    sheet = Sheet(top + len(rows) * pitch + 34 + MARGIN, max(2 * MARGIN + LABEL + columns * step - SPACE, 760))
    room = sheet.pixels.shape[1] - 2 * MARGIN
    sheet.write(shorten_text(title, room, TITLE, bold=True), MARGIN, 20, size_px=TITLE, bold=True)
    sheet.write(shorten_text(caption, room, TEXT), MARGIN, 54, ink=FAINT)
    for column, heading in enumerate(["input", *(heat.heading for heat in rows[0].heats)]):
        sheet.write(heading, MARGIN + LABEL + column * step, top - 24, bold=True)
    for number, row in enumerate(rows):
        y, left = top + number * pitch, MARGIN + LABEL
        name = shorten_text(row.title, LABEL - 16, TEXT, bold=True)
        sheet.write(name, MARGIN, y, bold=True, ink=find_ink(row.title))
        for place, line in enumerate(row.lines):
            sheet.write(shorten_text(line, LABEL - 16, SMALL), MARGIN, y + 26 + 20 * place, size_px=SMALL, ink=FAINT)
        sheet.lay(small, left, y)
        for heat in row.heats:
            left += step
            hottest = find_hottest([each for each in row.heats if each.layer == heat.layer])
            sheet.lay(overlay_heat(small, heat.map, largest=hottest), left, y)
            sheet.write(shorten_text(heat.layer, TILE, SMALL), left, y + height + 5, size_px=SMALL, ink=FAINT)
            sheet.write(_describe_map(heat), left, y + height + 22, size_px=SMALL, ink=FAINT)
    y = top + len(rows) * pitch
    high = describe_hottest(rows[0].heats, "each pair, cat and dog")
    lay_bar(sheet, MARGIN + LABEL + step, y, 2 * step - SPACE, high=high, overlaid=True)
    return sheet.pixels


def find_ink(variant: str) -> tuple[int, int, int]:
    """The variant's colour, as in every other figure, RGB."""
    red, green, blue = (round(255 * part) for part in to_rgb(choose_colours([variant])[variant]))
    return red, green, blue


def find_hottest(heats: Sequence[Heat]) -> float:
    """What is drawn as hottest in maps of one layer that share their scale.

    Returns:
        Their largest value; of pixels, what 99% of those with any evidence stay below; 0 where there is none.
    """
    values = np.concatenate([heat.map[heat.map > 0] for heat in heats])
    share = PIXEL_SHARE if _are_pixels(heats) else 100
    return float(np.percentile(values, share)) if values.size else 0.0


def describe_hottest(heats: Sequence[Heat], maps: str) -> str:
    """What `find_hottest` takes, in words for the end of a colour bar; `maps`: of what."""
    return f"99th percentile above 0 of {maps}" if _are_pixels(heats) else f"maximum of {maps}"


def _are_pixels(heats: Sequence[Heat]) -> bool:
    return any(heat.layer == PIXELS for heat in heats)


def draw_photos(photos: Sequence[tuple[str, np.ndarray, Sequence[Heat]]], *, title: str, caption: str) -> np.ndarray:
    """Photos with one overlay for each of a network's top classes.

    Args:
        photos: name, photo (h, w, 3) uint8, heats with class name and probability as heading.
        title: of the sheet.
        caption: what the heat is.

    Returns:
        (H, W, 3), uint8.
    """
    side, top = 280, 96
    small = [fit_picture(photo, side) for _, photo, _ in photos]
    columns = 1 + max(len(heats) for _, _, heats in photos)
    pitches = [picture.shape[0] + 72 for picture in small]
    sheet = Sheet(top + sum(pitches) + 40 + MARGIN, max(2 * MARGIN + max(3, columns) * (side + SPACE) - SPACE, 760))
    room = sheet.pixels.shape[1] - 2 * MARGIN
    sheet.write(shorten_text(title, room, TITLE, bold=True), MARGIN, 20, size_px=TITLE, bold=True)
    sheet.write(shorten_text(caption, room, TEXT), MARGIN, 54, ink=FAINT)
    y = top
    for (name, _, heats), picture, pitch in zip(photos, small, pitches, strict=True):
        sheet.write(shorten_text(name, side, SMALL), MARGIN, y, size_px=SMALL, ink=FAINT)
        sheet.lay(picture, MARGIN, y + 22)
        for column, heat in enumerate(heats, start=1):
            x = MARGIN + column * (side + SPACE)
            sheet.write(shorten_text(heat.heading, side, TEXT, bold=True), x, y - 2, bold=True)
            sheet.lay(overlay_heat(picture, heat.map, largest=find_hottest([heat])), x, y + 22)
            sheet.write(_describe_map(heat), x, y + 28 + picture.shape[0], size_px=SMALL, ink=FAINT)
        y += pitch
    high = describe_hottest(photos[0][2], "each map")
    lay_bar(sheet, MARGIN + side + SPACE, y, 2 * side, high=high, overlaid=True)
    return sheet.pixels


def lay_bar(sheet: Sheet, x: int, y: int, width: int, *, high: str, overlaid: bool = False) -> None:
    """A colour bar with what its ends are; `overlaid`: the colours as they look on mid grey."""
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (12, 1))
    grey = np.full((12, width, 3), 150, np.uint8)
    sheet.lay(overlay_heat(grey, ramp) if overlaid else colour_map(ramp), x, y)
    sheet.write("0", x, y + 16, size_px=SMALL, ink=FAINT)
    high = shorten_text(high, width - measure_text("0", SMALL) - 8, SMALL)
    sheet.write(high, x + width, y + 16, size_px=SMALL, ink=FAINT, anchor="ra")


def _describe_map(heat: Heat) -> str:
    return f"max {_format_maximum(heat)}" if np.any(heat.map > 0) else "empty: no evidence"


def _format_maximum(heat: Heat) -> str:
    return f"{float(np.max(heat.map, initial=0)):.3g} {heat.unit}".rstrip()
