"""Activations of one image: all sheets of it, all layers in brief, a single channel. Drawing only, no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cvd.vis.explaining.layers import choose_evenly
from cvd.vis.sheets import grids
from cvd.vis.sheets.drawing import (
    FAINT,
    MARGIN,
    SMALL,
    Sheet,
    fit_picture,
    look_up_colours,
    name_file,
    name_layer_file,
    resize_tile,
    write_png,
)

N_SHOWN = 10  # channels of a layer on the overview
N_LAYERS = 12  # layers on the overview
TILE = 88  # of the overview, px
SIDE = 360  # longer side of the image and of a single channel, px
SPACE = 20  # between them, px


def write_activations(
    folder: Path,
    picture: np.ndarray,
    activations: Mapping[str, np.ndarray],
    *,
    variant: str,
    path: str,
    probability: float,
    channels: Sequence[int] = (),
) -> None:
    """Write IMAGE.png with all layers in brief, IMAGE/NN_LAYER.png for each, IMAGE/NN_LAYER_C.png of single channels.

    `picture`, (h, w, 3) uint8, is the image as the network gets it; `activations` are of each layer in order,
    (h', w', k); `channels` are drawn large in layers that have them.
    """
    caption = f"{variant}   ·   {path}"
    for number, (layer, values) in enumerate(activations.items(), start=1):
        stem = f"{name_file(path)}/{number:02d}_{name_layer_file(layer)}"
        grids.write_channels(grids.draw_channels(values, layer=layer, caption=caption), folder / f"{stem}.png")
        for channel in channels:
            if channel < values.shape[-1]:
                sheet = draw_channel(picture, values, layer=layer, channel=channel, caption=caption)
                write_png(sheet, folder / f"{stem}_{channel}.png")
    caption = f"{path}   ·   P(dog) {probability:.3f}"
    write_png(draw_overview(picture, activations, title=variant, caption=caption), folder / f"{name_file(path)}.png")


def draw_overview(
    picture: np.ndarray, activations: Mapping[str, np.ndarray], *, title: str, caption: str
) -> np.ndarray:
    """Draw at most 12 layers from shallow to deep, a strip of channels for each, beside the image: (H, W, 3), uint8.

    `picture` is (h, w, 3) uint8, as the network gets it; `activations` are of each layer in order, (h', w', k).
    """
    names = [list(activations)[index] for index in choose_evenly(len(activations), N_LAYERS)]
    side, label, top, pitch = 264, 200, 128, TILE + 10
    left = MARGIN + side + 32
    width = left + label + N_SHOWN * (TILE + 4) + MARGIN
    sheet = Sheet(top + max(len(names) * pitch, side + 150) + MARGIN, width)
    sheet.write_header(title, caption)
    layers = f"{len(names)} of {len(activations)} layers"
    note = f"shallow (top) to deep; {layers}; {N_SHOWN} live channels of each, evenly spread"
    sheet.write(note, MARGIN, 78, size_px=SMALL, ink=FAINT)
    shown = fit_picture(picture, side)
    sheet.lay(shown, MARGIN, top)
    sheet.lay(grids.make_palette()[grids.ramp_colours(120, 12)], MARGIN, top + shown.shape[0] + 18)
    sheet.write("−2σ … +2σ of a channel", MARGIN, top + shown.shape[0] + 36, size_px=SMALL, ink=FAINT)
    for row, name in enumerate(names):
        _lay_strip(sheet, name, activations[name], left, top + row * pitch, label)
    return sheet.pixels


def _lay_strip(sheet: Sheet, name: str, activations: np.ndarray, x: int, y: int, label: int) -> None:
    """Lay one layer of the overview: name, shape, share of dead channels, some of the live ones."""
    height, width, n_channels = activations.shape
    tiles, is_dead = grids.standardise_channels(activations)
    sheet.write(name, x, y + 20, bold=True, room=label - 16)
    sheet.write(f"{height} × {width} × {n_channels}", x, y + 42, size_px=SMALL, ink=FAINT)
    sheet.write(f"{is_dead.mean():.0%} dead", x, y + 60, size_px=SMALL, ink=FAINT)
    live, palette, scale = np.flatnonzero(~is_dead), grids.make_palette(), TILE / max(height, width)
    for column, index in enumerate(choose_evenly(len(live), N_SHOWN)):
        tile = resize_tile(tiles[live[index]], max(1, round(height * scale)), max(1, round(width * scale)))
        sheet.lay(palette[grids.index_colours(tile)], x + label + column * (TILE + 4), y)


def draw_channel(picture: np.ndarray, activations: np.ndarray, *, layer: str, channel: int, caption: str) -> np.ndarray:
    """Draw one channel with its own numbers, from its smallest to its largest activation: (H, W, 3), uint8.

    `picture` is (h, w, 3) uint8, as the network gets it; `activations` are the layer's, (h', w', k).
    """
    values = np.asarray(activations[..., channel], np.float32)  # (h', w')
    low, high = float(values.min()), float(values.max())
    is_dead = high - low <= 1e-6 * max(abs(low), abs(high))
    shown = fit_picture(picture, SIDE)
    height, width = shown.shape[:2]
    colours = look_up_colours("viridis")
    levels = np.zeros_like(values) if is_dead else (values - low) / (high - low)
    tile = resize_tile(colours[np.rint(levels * 255).astype(np.uint8)], height, width)  # (height, width, 3)
    top, right = 92, MARGIN + width + SPACE
    sheet = Sheet(top + height + 66, max(2 * MARGIN + 2 * width + SPACE, 560))
    sheet.write_header(f"{layer}, channel {channel} of {activations.shape[-1]}", caption)
    sheet.lay(shown, MARGIN, top)
    sheet.lay(tile, right, top)
    y = top + height + 10
    sheet.write(f"{values.shape[0]} × {values.shape[1]} values", MARGIN, y + 16, size_px=SMALL, ink=FAINT)
    if is_dead:
        sheet.write(f"dead here: {low:.3g} everywhere", right, y + 16, size_px=SMALL, ink=FAINT)
    else:
        sheet.lay(colours[np.tile(np.linspace(0, 255, width).astype(np.uint8), (12, 1))], right, y)
        sheet.write(f"{low:.3g}", right, y + 16, size_px=SMALL, ink=FAINT)
        sheet.write(f"{high:.3g}", right + width, y + 16, size_px=SMALL, ink=FAINT, anchor="ra")
    return sheet.pixels
