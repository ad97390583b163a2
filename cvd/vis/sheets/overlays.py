"""Heat maps on photos, and sheets of them. Arrays in, pictures out; no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from cvd.runtime.vocabulary import HUES, SHADES, SPARE_HUES
from cvd.vis.explaining.geometry import Heat, View, upsample_map
from cvd.vis.explaining.layers import PIXELS
from cvd.vis.sheets.drawing import (
    FAINT,
    MARGIN,
    SMALL,
    WRONG,
    Sheet,
    fit_picture,
    look_up_colours,
    measure_text,
    name_file,
    name_layer_file,
    write_png,
)

COLOURS = "inferno"
OPACITY = 0.8  # of the hottest spot
LONGEST = 2048  # photos with a longer side are drawn at this, px
TILE = 196  # longer side of a picture on a sheet, px
PANEL = 320  # of a single heat map, px
SPACE = 14  # between pictures, px
LABEL = 176  # of a row, px
PIXEL_SHARE = 99  # percent of the pixels; a few of them outshine the rest by far, which would look empty


def normalise_map(heat: np.ndarray, *, largest: float | None = None) -> np.ndarray:
    """Divide a map by its largest value, 0..1, or by one given; an empty map (all 0) stays empty."""
    largest = float(np.max(heat, initial=0)) if largest is None else largest
    return np.asarray(heat, np.float32) / np.float32(largest) if largest > 0 else np.zeros_like(heat, np.float32)


def colour_map(heat: np.ndarray) -> np.ndarray:
    """Colour a normalised map (h, w), 0..1: (h, w, 3) uint8."""
    return look_up_colours(COLOURS)[np.clip(np.rint(heat * 255), 0, 255).astype(np.uint8)]


def overlay_heat(image: np.ndarray, heat: np.ndarray, *, largest: float | None = None) -> np.ndarray:
    """Lay heat (h', w'), >= 0, of any size, on a photo (h, w, 3) uint8: the more heat the more opaque.

    `largest` is shown as hottest, and so is all above; None: the map's largest. Gives (h, w, 3), uint8. The photo is
    grey, so that all colour is heat: a red fox keeps no red of its own.
    """
    # Heat from 0 to 1 (h, w, 1); the photo without its colours (h, w, 1).
    strength = np.minimum(normalise_map(upsample_map(heat, *image.shape[:2]), largest=largest), 1)[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    colours, opacity = colour_heat(strength[..., 0])
    opacity = opacity[..., None]
    return np.clip(np.rint(grey * (1 - opacity) + colours * opacity), 0, 255).astype(np.uint8)


def colour_heat(strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour heat of any shape, 0..1: RGB (..., 3), 0..255, without the darkest and brightest; and opacity, 0..1."""
    return colour_map(0.25 + 0.65 * strength).astype(np.float32), OPACITY * strength**0.8


def limit_size(image: np.ndarray) -> np.ndarray:
    """Shrink a photo to a longer side of at most 2,048 px, in its own aspect ratio."""
    return fit_picture(image, LONGEST) if max(image.shape[:2]) > LONGEST else image


def draw_heat(image: np.ndarray, heat: Heat, *, title: str, caption: str) -> np.ndarray:
    """Draw an image (h, w, 3) uint8, one map with its colour bar, and the overlay, side by side: (H, W, 3), uint8."""
    small = fit_picture(image, PANEL)
    height, width = small.shape[:2]
    column, top = max(width, 220) + SPACE, 96
    sheet = Sheet(top + height + 64 + MARGIN, 2 * MARGIN + 3 * column - SPACE)
    sheet.write_header(title, f"{caption}   ·   {heat.layer}   ·   {heat.heading}")
    hottest = find_hottest([heat])
    coloured = colour_map(normalise_map(upsample_map(heat.map, height, width), largest=hottest))
    for number, picture in enumerate((small, coloured, overlay_heat(small, heat.map, largest=hottest))):
        sheet.lay(picture, MARGIN + number * column, top)
    if np.any(heat.map > 0):
        high = f"{hottest:.3g} {heat.unit}".rstrip() + " and above" * bool(hottest < np.max(heat.map))
        lay_bar(sheet, MARGIN + column, top + height + 12, column - SPACE, high=high)
    else:
        sheet.write("empty: no evidence", MARGIN + column, top + height + 12, size_px=SMALL, ink=FAINT)
    return sheet.pixels


def draw_comparison(
    image: np.ndarray, views: Sequence[View], *, title: str, caption: str, note: str = ""
) -> np.ndarray:
    """Draw what networks see in an image, (h, w, 3) uint8: a row for each network, a column for each layer and class.

    The classes of a layer share their scale, so that a class without much evidence stays dark. Layers and networks do
    not: their logits have different sizes. All views have as many heats. `note` stands under the caption. Gives
    (H, W, 3), uint8.
    """
    small = fit_picture(image, TILE)
    height = small.shape[0]
    pitch, step, top = height + 78, TILE + SPACE, 136
    columns = 1 + max(len(view.heats) for view in views)
    sheet = Sheet(top + len(views) * pitch + 34 + MARGIN, max(2 * MARGIN + LABEL + columns * step - SPACE, 760))
    sheet.write_header(title, caption)
    sheet.write(note, MARGIN, 76, size_px=SMALL, ink=FAINT)
    for column, heading in enumerate(["input", *(heat.heading for heat in views[0].heats)]):
        sheet.write(heading, MARGIN + LABEL + column * step, top - 24, bold=True)
    for number, view in enumerate(views):
        y, left = top + number * pitch, MARGIN + LABEL
        sheet.write(view.variant, MARGIN, y, bold=True, ink=find_ink(view.variant), room=LABEL - 16)
        for place, line in enumerate(view.lines):
            sheet.write(line, MARGIN, y + 26 + 20 * place, size_px=SMALL, ink=FAINT, room=LABEL - 16)
        sheet.lay(small, left, y)
        for heat in view.heats:
            left += step
            hottest = find_hottest(view.find_pair(heat))
            sheet.lay(overlay_heat(small, heat.map, largest=hottest), left, y)
            write_amount(sheet, view, heat, left, y + height)
    y = top + len(views) * pitch
    high = describe_hottest(views[0].heats, f"each pair, {' and '.join(views[0].labels)}")
    lay_bar(sheet, MARGIN + LABEL + step, y, 2 * step - SPACE, high=high, overlaid=True)
    return sheet.pixels


def write_amount(sheet: Sheet, view: View, heat: Heat, x: int, y: int) -> None:
    """Write a heat's layer and amount below a picture that ends at y; say where it contradicts the network."""
    sheet.write(heat.layer, x, y + 5, size_px=SMALL, ink=FAINT, room=TILE)
    sheet.write(describe_amount(heat), x, y + 22, size_px=SMALL, ink=FAINT, room=TILE)
    if view.is_contradicted(heat):
        sheet.write("less than for the other", x, y + 39, size_px=SMALL, bold=True, ink=WRONG, room=TILE)


def describe_amount(heat: Heat) -> str:
    """Say how much evidence a map holds."""
    if not np.any(heat.map > 0):
        return "empty: no evidence"
    return f"sum {heat.total:.2g}, max {float(np.max(heat.map)):.2g} {heat.unit}".rstrip()


def write_sheets(
    folder: Path, images: Mapping[str, np.ndarray], views: Mapping[str, View], *, caption: str, note: str
) -> None:
    """Write what one network sees in images, (h, w, 3) uint8 by path: IMAGE.png, IMAGE/LAYER_CLASS.png of each map."""
    for path, image in images.items():
        name, view = name_file(path), views[path]
        write_png(draw_comparison(image, [view], title=path, caption=caption, note=note), folder / f"{name}.png")
        for heat in view.heats:
            single = draw_heat(image, heat, title=path, caption=f"{view.variant}   ·   {view.lines[0]}")
            write_png(single, folder / name / f"{name_layer_file(heat.layer)}_{heat.label}.png")


def write_comparisons(
    folder: Path, images: Mapping[str, np.ndarray], views: Mapping[str, Sequence[View]], *, caption: str, note: str
) -> None:
    """Write IMAGE.png: what several networks see in images, (h, w, 3) uint8 by path, a view of each network."""
    for path, image in images.items():
        sheet = draw_comparison(image, views[path], title=path, caption=caption, note=note)
        write_png(sheet, folder / f"{name_file(path)}.png")


def find_ink(variant: str) -> tuple[int, int, int]:
    """Find the variant's colour, as in every other picture, RGB."""
    red, green, blue = bytes.fromhex(SHADES[HUES.get(variant, SPARE_HUES[0])].removeprefix("#"))
    return red, green, blue


def find_hottest(heats: Sequence[Heat]) -> float:
    """Find what is drawn as hottest in maps of one layer that share their scale; 0 where there is no evidence.

    Their largest value; of pixels, the 99th percentile of those with any evidence.
    """
    values = np.concatenate([heat.map[heat.map > 0] for heat in heats])
    share = PIXEL_SHARE if _are_pixels(heats) else 100
    return float(np.percentile(values, share)) if values.size else 0.0


def describe_hottest(heats: Sequence[Heat], maps: str) -> str:
    """Say in words what `find_hottest` takes, for the end of a colour bar; `maps`: of what."""
    return f"99th percentile above 0 of {maps}" if _are_pixels(heats) else f"maximum of {maps}"


def _are_pixels(heats: Sequence[Heat]) -> bool:
    return any(heat.layer == PIXELS for heat in heats)


def lay_bar(sheet: Sheet, x: int, y: int, width: int, *, high: str, overlaid: bool = False) -> None:
    """Lay a colour bar with words at its ends; `overlaid`: the colours as they look on mid grey."""
    sheet.lay(draw_ramp(width) if overlaid else colour_map(_make_ramp(width)), x, y)
    sheet.write("0", x, y + 16, size_px=SMALL, ink=FAINT)
    room = width - measure_text("0", SMALL) - 8
    sheet.write(high, x + width, y + 16, size_px=SMALL, ink=FAINT, anchor="ra", room=room)


def draw_ramp(width: int) -> np.ndarray:
    """Draw the colours of heat, from none to the most, as they look on mid grey: (12, width, 3) uint8."""
    return overlay_heat(np.full((12, width, 3), 150, np.uint8), _make_ramp(width))


def _make_ramp(width: int) -> np.ndarray:
    return np.tile(np.linspace(0, 1, width, dtype=np.float32), (12, 1))
