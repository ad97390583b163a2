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
NUMBER = 11  # height of a channel's number, px


def write_activations(
    folder: Path,
    picture: np.ndarray,
    activations: Mapping[str, np.ndarray],
    *,
    variant: str,
    path: str,
    answer: str,
    channels: Sequence[int] = (),
) -> None:
    """Write IMAGE.png with all layers in brief, IMAGE/NN_LAYER.png for each, IMAGE/NN_LAYER_C.png of single channels.

    `picture`, (h, w, 3) uint8, is the image as the network gets it; `activations` are of each layer in order,
    (h', w', k); `answer` is what the network says; `channels` are drawn large in layers that have them.
    """
    caption = f"{variant}   ·   {path}"
    for number, (layer, values) in enumerate(activations.items(), start=1):
        stem = f"{name_file(path)}/{number:02d}_{name_layer_file(layer)}"
        grids.write_channels(grids.draw_channels(values, layer=layer, caption=caption), folder / f"{stem}.png")
        for channel in channels:
            if channel < values.shape[-1]:
                sheet = draw_channel(picture, values, layer=layer, channel=channel, caption=caption)
                write_png(sheet, folder / f"{stem}_{channel}.png")
    caption = f"{path}   ·   {answer}"
    write_png(draw_overview(picture, activations, title=variant, caption=caption), folder / f"{name_file(path)}.png")


def draw_overview(
    picture: np.ndarray, activations: Mapping[str, np.ndarray], *, title: str, caption: str
) -> np.ndarray:
    """Draw at most 12 layers from shallow to deep, a strip of channels for each, beside the image: (H, W, 3), uint8.

    `picture` is (h, w, 3) uint8, as the network gets it; `activations` are of each layer in order, (h', w', k).
    """
    names = [list(activations)[index] for index in choose_evenly(len(activations), N_LAYERS)]
    side, label, top, pitch = 264, 200, 128, TILE + 24
    left = MARGIN + side + 32
    width = left + label + N_SHOWN * (TILE + 4) + MARGIN
    sheet = Sheet(top + max(len(names) * pitch, side + 150) + MARGIN, width)
    sheet.write_header(title, caption)
    layers = f"{len(names)} of {len(activations)} layers"
    note = f"shallow (top) to deep; {layers}; the {N_SHOWN} channels of each that vary most in this image, by number"
    sheet.write(note, MARGIN, 78, size_px=SMALL, ink=FAINT)
    shown = fit_picture(picture, side)
    sheet.lay(shown, MARGIN, top)
    sheet.lay(grids.make_palette()[grids.ramp_colours(120, 12)], MARGIN, top + shown.shape[0] + 18)
    sheet.write("−2σ … +2σ of a channel", MARGIN, top + shown.shape[0] + 36, size_px=SMALL, ink=FAINT)
    for row, name in enumerate(names):
        _lay_strip(sheet, name, activations[name], left, top + row * pitch, label)
    return sheet.pixels


def _lay_strip(sheet: Sheet, name: str, activations: np.ndarray, x: int, y: int, label: int) -> None:
    """Lay one layer of the overview: name, shape, which channels are dead, and those of the highest contrast."""
    height, width, n_channels = activations.shape
    tiles, is_dead = grids.standardise_channels(activations)
    dead = f"{is_dead.sum()} dead: {grids.list_numbers(np.flatnonzero(is_dead))}" if is_dead.any() else "none dead"
    sheet.write(name, x, y + 20, bold=True, room=label - 16)
    sheet.write(f"{height} × {width} × {n_channels}", x, y + 42, size_px=SMALL, ink=FAINT)
    sheet.write(dead, x, y + 60, size_px=SMALL, ink=FAINT, room=label - 16)
    palette, scale = grids.make_palette(), TILE / max(height, width)
    for column, index in enumerate(rank_channels(activations)[:N_SHOWN]):
        tile = resize_tile(tiles[index], max(1, round(height * scale)), max(1, round(width * scale)))
        left = x + label + column * (TILE + 4)
        sheet.lay(palette[grids.index_colours(tile)], left, y)
        sheet.write(str(index), left, y + tile.shape[0] + 2, size_px=NUMBER, ink=FAINT)


def rank_channels(activations: np.ndarray) -> np.ndarray:
    """Order the live channels of (h, w, k) by contrast, their standard deviation, from high to low: numbers."""
    _, is_dead = grids.standardise_channels(activations)
    contrasts = np.where(is_dead, -1, activations.std(axis=(0, 1), dtype=np.float64))  # (k,)
    return np.argsort(-contrasts, kind="stable")[: int((~is_dead).sum())]


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
