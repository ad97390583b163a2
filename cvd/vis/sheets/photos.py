"""Sheets of photos: what a network of many classes sees in each. Arrays in, pictures out; no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cvd.vis.explaining.geometry import Heat, upsample_map
from cvd.vis.sheets.drawing import (
    FAINT,
    MARGIN,
    SMALL,
    TEXT,
    Sheet,
    fit_picture,
    measure_text,
    name_layer_file,
    write_png,
)
from cvd.vis.sheets.overlays import (
    SPACE,
    TILE,
    colour_map,
    describe_amount,
    describe_hottest,
    find_hottest,
    lay_bar,
    normalise_map,
    overlay_heat,
)


def draw_photo(
    name: str, photo: np.ndarray, heats: Sequence[Heat], *, title: str, caption: str, note: str = ""
) -> np.ndarray:
    """Draw a photo (h, w, 3) uint8 and heats on it, then the last layer's by themselves: (H, W, 3), uint8.

    A column for each label, a row for each layer. Heats are of each layer in turn, with the same labels.
    """
    labels, layers = (list(dict.fromkeys(values)) for values in zip(*(heat[:2] for heat in heats), strict=True))
    small = fit_picture(photo, TILE)
    height, width = small.shape[:2]
    pitch, step, top = height + 46, TILE + SPACE, 130
    bottom = top + (len(layers) + 1) * pitch
    sheet = Sheet(bottom + 34 + MARGIN, max(2 * MARGIN + (1 + len(labels)) * step - SPACE, 760))
    sheet.write_header(title, caption)
    sheet.write(note, MARGIN, 76, size_px=SMALL, ink=FAINT)
    sheet.write(name, MARGIN, top - 22, bold=True, room=TILE)
    sheet.lay(small, MARGIN, top)
    for column, label in enumerate(labels, start=1):
        size_px = TEXT if measure_text(label, TEXT, bold=True) <= TILE else SMALL
        sheet.write(label, MARGIN + column * step, top - 22, size_px=size_px, bold=True, room=TILE)
    for index, heat in enumerate(heats):
        x, y = MARGIN + (1 + index % len(labels)) * step, top + index // len(labels) * pitch
        hottest = find_hottest([other for other in heats if _share_scale(heat, other)])
        sheet.lay(overlay_heat(small, heat.map, largest=hottest), x, y)
        place = f"{heat.depth}: {heat.layer}" if heat.depth else heat.layer
        sheet.write(place, x, y + height + 5, size_px=SMALL, ink=FAINT, room=TILE)
        sheet.write(describe_amount(heat), x, y + height + 22, size_px=SMALL, ink=FAINT, room=TILE)
        if heat.layer == layers[-1]:
            bare = colour_map(normalise_map(upsample_map(heat.map, height, width), largest=hottest))
            sheet.lay(bare, x, bottom - pitch)
    sheet.write("the last layer alone", MARGIN, bottom - pitch + 2, bold=True, room=TILE)
    high = describe_hottest(heats, "each class, or of a pair")
    lay_bar(sheet, MARGIN + step, bottom - 30, 2 * TILE + SPACE, high=high)
    return sheet.pixels


def _share_scale(heat: Heat, other: Heat) -> bool:
    return heat is other or (heat.is_paired and other.is_paired and heat.layer == other.layer)


def write_photos(
    folder: Path,
    photos: Mapping[str, np.ndarray],
    heats: Iterable[Sequence[Heat]],
    *,
    title: str,
    caption: str,
    note: str,
) -> None:
    """Write PHOTO.png: what a network sees in photos, (h, w, 3) uint8 by name; heats in their order."""
    for (name, photo), seen in zip(photos.items(), heats, strict=True):
        sheet = draw_photo(name, photo, seen, title=title, caption=caption, note=note)
        write_png(sheet, folder / f"{name_layer_file(name)}.png")  # a.jpg and a.png may both be there
