"""Grids of channels and of filters. Drawing only: arrays in, pictures out, no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from cvd.vis.explaining.layers import choose_evenly
from cvd.vis.sheets.drawing import (
    FAINT,
    GAP,
    MARGIN,
    SMALL,
    TEXT,
    TITLE,
    Sheet,
    fit_picture,
    load_font,
    look_up_colours,
    measure_text,
    resize_tile,
    shorten_text,
)

# A grid of channels is stored as indices into a palette, a third of the size of RGB: viridis, then greys.
N_COLOURS = 200
BLACK, WHITE = N_COLOURS, 255
DARK, HATCH = 212, 224  # the two greys of a dead channel
WIDTH = 1200  # of a grid of channels, about, px
LEAST_WIDTH = 720  # room for the header, px
N_SHOWN = 10  # channels of a layer on the overview
N_LAYERS = 12  # layers on the overview
TILE = 88  # of the overview, px
LEAST_SIDE = 148  # of a filter's picture, px: room for the line under it


def standardise_channels(activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each channel by itself: minus its mean, over its standard deviation, times 64, plus 128, cut to 0..255.

    As in Chollet, Deep Learning with Python (2017), listing 5.31, where a dead channel divides by zero.

    Args:
        activations: (h, w, k) of one image.

    Returns:
        (k, h, w) uint8, and (k,) bool: which channels are dead, the same number everywhere; those are 128.
    """
    channels = np.moveaxis(np.asarray(activations, np.float64), -1, 0)
    low, high = channels.min(axis=(1, 2), keepdims=True), channels.max(axis=(1, 2), keepdims=True)
    is_dead = high - low <= 1e-6 * np.maximum(np.abs(low), np.abs(high))
    deviation = np.where(is_dead, 1, channels.std(axis=(1, 2), keepdims=True))
    standard = np.where(is_dead, 0, (channels - channels.mean(axis=(1, 2), keepdims=True)) / deviation)
    return np.clip(standard * 64 + 128, 0, 255).astype(np.uint8), is_dead[:, 0, 0]


def plan_columns(n_channels: int) -> int:
    """Columns of a grid: round numbers, so that a channel's number is read off its place."""
    for most, columns in ((64, 8), (256, 16), (512, 32)):
        if n_channels <= most:
            return min(columns, n_channels)
    return 40


def tile_channels(tiles: np.ndarray, is_dead: np.ndarray, *, columns: int, width: int) -> np.ndarray:
    """Lays channels in rows, every one of them, the last row padded with paper.

    Args:
        tiles: (k, h, w), uint8, 0..255.
        is_dead: (k,), bool; these are hatched.
        columns: of the grid.
        width: of the grid, about, px: small tiles are enlarged by whole numbers, large ones shrunk.

    Returns:
        (H, W), uint8: indices into the palette.
    """
    room = max(8, width // columns - GAP)
    longest = max(tiles.shape[1:])
    scale = room // longest if room >= longest else room / longest
    height, breadth = (max(1, round(side * scale)) for side in tiles.shape[1:])
    rows = -(-len(tiles) // columns)
    grid = np.full((rows * (height + GAP) - GAP, columns * (breadth + GAP) - GAP), WHITE, np.uint8)
    hatched = _hatch(height, breadth)
    for index, tile in enumerate(tiles):
        y, x = index // columns * (height + GAP), index % columns * (breadth + GAP)
        drawn = hatched if is_dead[index] else _to_palette(resize_tile(tile, height, breadth))
        grid[y : y + height, x : x + breadth] = drawn
    return grid


def draw_channels(activations: np.ndarray, *, layer: str, caption: str) -> np.ndarray:
    """Every channel of a layer for one image, with a header: layer, shape, dead channels, scale.

    Args:
        activations: (h, w, k).
        layer: its name.
        caption: variant and image.

    Returns:
        (H, W), uint8: indices into the palette, for `write_channels`.
    """
    height, width, n_channels = activations.shape
    tiles, is_dead = standardise_channels(activations)
    columns = plan_columns(n_channels)
    grid = tile_channels(tiles, is_dead, columns=columns, width=WIDTH)
    left = MARGIN + measure_text(str(n_channels), SMALL) + 10
    top = 118
    shape = (top + grid.shape[0] + MARGIN, max(LEAST_WIDTH, left + grid.shape[1] + MARGIN))
    sheet = np.full(shape, WHITE, np.uint8)
    sheet[top : top + grid.shape[0], left : left + grid.shape[1]] = grid
    _lay_scale(sheet, MARGIN, 84)
    image = Image.fromarray(sheet)
    pen = ImageDraw.Draw(image)
    room = shape[1] - 2 * MARGIN
    title = shorten_text(f"{layer}   {height} × {width} × {n_channels}", room, TITLE, bold=True)
    pen.text((MARGIN, 20), title, font=load_font(TITLE, True), fill=BLACK + 6)
    dead = f"{is_dead.sum()} of {n_channels} channels dead here ({is_dead.mean():.0%})"
    pen.text((MARGIN, 54), shorten_text(f"{caption}   ·   {dead}", room, TEXT), font=load_font(TEXT), fill=BLACK + 22)
    text = "−2σ … +2σ of each channel by itself; rows start at the channel numbered; dead (constant): hatched"
    pen.text((MARGIN + 132, 83), shorten_text(text, room - 132, SMALL), font=load_font(SMALL), fill=BLACK + 22)
    pitch = (grid.shape[0] + GAP) // -(-n_channels // columns)
    every = -(-16 // pitch)  # rows lower than their number is high are not all numbered
    for row in range(0, -(-n_channels // columns), every):
        place = (left - 8, top + row * pitch + min(pitch - GAP, 16 * every) // 2)
        pen.text(place, str(row * columns), font=load_font(SMALL), fill=BLACK + 22, anchor="rm")
    return np.asarray(image)


def write_channels(sheet: np.ndarray, path: str | Path) -> None:
    """Writes what `draw_channels` made as a PNG with a palette; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(sheet).convert("P")
    image.putpalette(make_palette().tobytes())
    image.save(path, format="PNG", compress_level=6)


def make_palette() -> np.ndarray:
    """(256, 3), uint8: viridis, then greys from black to white."""
    colours = look_up_colours("viridis")[np.linspace(0, 255, N_COLOURS).round().astype(int)]
    greys = np.linspace(0, 255, 256 - N_COLOURS).round().astype(np.uint8)
    return np.concatenate([colours, np.repeat(greys[:, None], 3, axis=1)])


def draw_overview(
    picture: np.ndarray, activations: Mapping[str, np.ndarray], *, title: str, caption: str
) -> np.ndarray:
    """A network's layers from shallow to deep on one sheet, a strip of channels for each, beside the image.

    Args:
        picture: (h, w, 3), uint8, the image as the network gets it.
        activations: of each layer in order, (h', w', k); at most 12 are drawn, evenly spread by depth.
        title: variant.
        caption: image and what the network says of it.

    Returns:
        (H, W, 3), uint8.
    """
    names = [list(activations)[index] for index in choose_evenly(len(activations), N_LAYERS)]
    side, label, top, pitch = 264, 200, 128, TILE + 10
    left = MARGIN + side + 32
    width = left + label + N_SHOWN * (TILE + 4) + MARGIN
    sheet = Sheet(top + max(len(names) * pitch, side + 150) + MARGIN, width)
    sheet.write(shorten_text(title, width - 2 * MARGIN, TITLE, bold=True), MARGIN, 20, size_px=TITLE, bold=True)
    sheet.write(shorten_text(caption, width - 2 * MARGIN, TEXT), MARGIN, 54, ink=FAINT)
    layers = f"{len(names)} of {len(activations)} layers"
    note = f"shallow (top) to deep; {layers}; {N_SHOWN} live channels of each, evenly spread"
    sheet.write(note, MARGIN, 78, size_px=SMALL, ink=FAINT)
    shown = fit_picture(picture, side)
    sheet.lay(shown, MARGIN, top)
    sheet.lay(_draw_scale(120, 12), MARGIN, top + shown.shape[0] + 18)
    sheet.write("−2σ … +2σ of a channel", MARGIN, top + shown.shape[0] + 36, size_px=SMALL, ink=FAINT)
    for row, name in enumerate(names):
        _lay_strip(sheet, name, activations[name], left, top + row * pitch, label)
    return sheet.pixels


def draw_pictures(
    pictures: np.ndarray, labels: Sequence[str], is_dead: np.ndarray, *, title: str, caption: str, columns: int = 8
) -> np.ndarray:
    """A grid of filters' pictures, each with a line under it; dead ones are hatched.

    Args:
        pictures: (n, s, s, 3), float32, 0..255; contrast is evened out here.
        labels: (n,) lines.
        is_dead: (n,), bool.
        title: layer and its shape.
        caption: variant, recipe.
        columns: of the grid.

    Returns:
        (H, W, 3), uint8.
    """
    side, top, line = max(LEAST_SIDE, pictures.shape[1]), 92, 26
    rows = -(-len(pictures) // columns)
    width = 2 * MARGIN + columns * (side + 8) - 8
    sheet = Sheet(top + rows * (side + line + 6) + MARGIN - 6, width)
    sheet.write(shorten_text(title, width - 2 * MARGIN, TITLE, bold=True), MARGIN, 20, size_px=TITLE, bold=True)
    sheet.write(shorten_text(caption, width - 2 * MARGIN, TEXT), MARGIN, 54, ink=FAINT)
    hatched = make_palette()[_hatch(side, side)]
    for index, picture in enumerate(even_contrast(pictures)):
        x, y = MARGIN + index % columns * (side + 8), top + index // columns * (side + line + 6)
        enlarged = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
        sheet.lay(hatched if is_dead[index] else enlarged, x, y)
        sheet.write(shorten_text(labels[index], side, SMALL), x, y + side + 4, size_px=SMALL, ink=FAINT)
    return sheet.pixels


def even_contrast(pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w, 3) with mean 128 and standard deviation 50, cut to 0..255, uint8; faint ones stay fainter."""
    mean, deviation = pictures.mean(axis=(1, 2, 3), keepdims=True), pictures.std(axis=(1, 2, 3), keepdims=True)
    return np.clip((pictures - mean) / np.maximum(deviation, 16) * 50 + 128, 0, 255).astype(np.uint8)


def _lay_strip(sheet: Sheet, name: str, activations: np.ndarray, x: int, y: int, label: int) -> None:
    """One layer of the overview: name, shape, share of dead channels, some of the live ones."""
    height, width, n_channels = activations.shape
    tiles, is_dead = standardise_channels(activations)
    sheet.write(shorten_text(name, label - 16, TEXT, bold=True), x, y + 20, bold=True)
    sheet.write(f"{height} × {width} × {n_channels}", x, y + 42, size_px=SMALL, ink=FAINT)
    sheet.write(f"{is_dead.mean():.0%} dead", x, y + 60, size_px=SMALL, ink=FAINT)
    live = np.flatnonzero(~is_dead)
    palette = make_palette()
    for column, index in enumerate(choose_evenly(len(live), N_SHOWN)):
        scale = TILE / max(height, width)
        tile = resize_tile(tiles[live[index]], max(1, round(height * scale)), max(1, round(width * scale)))
        sheet.lay(palette[_to_palette(tile)], x + label + column * (TILE + 4), y)


def _to_palette(tile: np.ndarray) -> np.ndarray:
    return (tile.astype(np.uint16) * (N_COLOURS - 1) // 255).astype(np.uint8)


def _hatch(height: int, width: int) -> np.ndarray:
    """Diagonal stripes in two greys, as indices into the palette."""
    rows, columns = np.indices((height, width))
    return np.where((rows + columns) % 8 < 2, HATCH, DARK).astype(np.uint8)


def _draw_scale(width: int, height: int) -> np.ndarray:
    """The colours of a channel from low to high, (height, width, 3)."""
    return make_palette()[np.tile(np.linspace(0, N_COLOURS - 1, width).astype(np.uint8), (height, 1))]


def _lay_scale(sheet: np.ndarray, x: int, y: int) -> None:
    sheet[y : y + 14, x : x + 120] = np.linspace(0, N_COLOURS - 1, 120).astype(np.uint8)
