"""Grids of channels and of filters' pictures. Drawing only: arrays in, pictures out, no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cvd.vis.sheets.drawing import FAINT, GAP, MARGIN, SMALL, Sheet, look_up_colours, measure_text, resize_tile

# A grid of channels is stored as indices into a palette, a third of the size of RGB: viridis, then greys.
N_COLOURS = 200
BLACK, WHITE = N_COLOURS, 255
DARK, HATCH = 212, 224  # the two greys of a dead channel
WIDTH = 1200  # of a grid of channels, about, px
LEAST_WIDTH = 720  # room for the header, px
LEAST_SIDE = 148  # of a filter's picture, px: room for the line under it


def standardise_channels(activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise each channel of (h, w, k): minus its mean, over its deviation, times 64, plus 128, in 0..255.

    As in Chollet, Deep Learning with Python (2017), listing 5.31, where a dead channel divides by zero.

    Returns:
        (k, h, w) uint8, and (k,) bool: which channels are dead, the same number everywhere; those are 128.
    """
    channels = np.moveaxis(np.asarray(activations, np.float64), -1, 0)  # (k, h, w)
    low, high = channels.min(axis=(1, 2), keepdims=True), channels.max(axis=(1, 2), keepdims=True)  # (k, 1, 1)
    is_dead = high - low <= 1e-6 * np.maximum(np.abs(low), np.abs(high))
    deviation = np.where(is_dead, 1, channels.std(axis=(1, 2), keepdims=True))
    standard = np.where(is_dead, 0, (channels - channels.mean(axis=(1, 2), keepdims=True)) / deviation)
    return np.clip(standard * 64 + 128, 0, 255).astype(np.uint8), is_dead[:, 0, 0]


def plan_columns(n_channels: int) -> int:
    """Choose a grid's columns: round numbers, so that a channel's number is read off its place."""
    for most, columns in ((64, 8), (256, 16), (512, 32)):
        if n_channels <= most:
            return min(columns, n_channels)
    return 40


def tile_channels(tiles: np.ndarray, is_dead: np.ndarray, *, columns: int, width: int) -> np.ndarray:
    """Lay channels (k, h, w), uint8, in rows of `columns`, the last row padded with paper; dead ones are hatched.

    The grid is about `width` px wide: small tiles are enlarged by whole numbers, large ones shrunk. It is (H, W),
    uint8: indices into the palette.
    """
    room = max(8, width // columns - GAP)
    longest = max(tiles.shape[1:])
    scale = room // longest if room >= longest else room / longest
    height, breadth = (max(1, round(side * scale)) for side in tiles.shape[1:])
    rows = -(-len(tiles) // columns)
    grid = np.full((rows * (height + GAP) - GAP, columns * (breadth + GAP) - GAP), WHITE, np.uint8)
    hatched = hatch(height, breadth)
    for index, tile in enumerate(tiles):
        y, x = index // columns * (height + GAP), index % columns * (breadth + GAP)
        drawn = hatched if is_dead[index] else index_colours(resize_tile(tile, height, breadth))
        grid[y : y + height, x : x + breadth] = drawn
    return grid


def draw_channels(activations: np.ndarray, *, layer: str, caption: str) -> np.ndarray:
    """Draw every channel of a layer, (h, w, k), with a header: layer, shape, dead channels, scale.

    Gives (H, W), uint8: indices into the palette, for `write_channels`.
    """
    height, width, n_channels = activations.shape
    tiles, is_dead = standardise_channels(activations)
    columns = plan_columns(n_channels)
    grid = tile_channels(tiles, is_dead, columns=columns, width=WIDTH)
    left = MARGIN + measure_text(str(n_channels), SMALL) + 10
    top, ink = 118, BLACK + 22
    breadth = max(LEAST_WIDTH, left + grid.shape[1] + MARGIN)
    sheet = Sheet(top + grid.shape[0] + MARGIN, breadth, paper=WHITE)
    sheet.lay(grid, left, top)
    sheet.lay(ramp_colours(120, 14), MARGIN, 84)
    dead = f"{is_dead.sum()} of {n_channels} channels dead here ({is_dead.mean():.0%})"
    title = f"{layer}   {height} × {width} × {n_channels}"
    sheet.write_header(title, f"{caption}   ·   {dead}", ink=BLACK + 6, faint=ink)
    scale = "−2σ … +2σ of each channel by itself; rows start at the channel numbered; dead (constant): hatched"
    sheet.write(scale, MARGIN + 132, 83, size_px=SMALL, ink=ink, room=breadth - 2 * MARGIN - 132)
    n_rows = -(-n_channels // columns)
    pitch = (grid.shape[0] + GAP) // n_rows
    every = -(-16 // pitch)  # rows lower than their number is high are not all numbered
    for row in range(0, n_rows, every):
        y = top + row * pitch + min(pitch - GAP, 16 * every) // 2
        sheet.write(str(row * columns), left - 8, y, size_px=SMALL, ink=ink, anchor="rm")
    return sheet.pixels


def write_channels(sheet: np.ndarray, path: str | Path) -> None:
    """Write a sheet of `draw_channels` as a PNG with a palette; folders are made."""
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


def index_colours(tile: np.ndarray) -> np.ndarray:
    """Turn values 0..255 into indices of the palette's colours, uint8."""
    return (tile.astype(np.uint16) * (N_COLOURS - 1) // 255).astype(np.uint8)


def ramp_colours(width: int, height: int) -> np.ndarray:
    """(height, width), uint8: indices of the palette's colours, from low to high."""
    return np.tile(np.linspace(0, N_COLOURS - 1, width).astype(np.uint8), (height, 1))


def hatch(height: int, width: int) -> np.ndarray:
    """(height, width), uint8: diagonal stripes in two greys, as indices into the palette."""
    rows, columns = np.indices((height, width))
    return np.where((rows + columns) % 8 < 2, HATCH, DARK).astype(np.uint8)


def draw_pictures(
    pictures: np.ndarray, labels: Sequence[str], is_dead: np.ndarray, *, layer: str, n_filters: int, recipe: str
) -> np.ndarray:
    """Draw some of a layer's `n_filters` pictures, (n, s, s, 3), 0..255, their contrast evened out: (H, W, 3), uint8.

    Each has a label under it; dead ones are hatched. `recipe` says how they were made.
    """
    side, top, line, columns = max(LEAST_SIDE, pictures.shape[1]), 92, 26, 8
    rows = -(-len(pictures) // columns)
    sheet = Sheet(top + rows * (side + line + 6) + MARGIN - 6, 2 * MARGIN + columns * (side + 8) - 8)
    rise = "under each: filter, its mean activation before → after"
    caption = f"{recipe}   ·   {rise}   ·   {is_dead.sum()} of {len(pictures)} dead"
    sheet.write_header(f"{layer}   {len(pictures)} of {n_filters} filters", caption)
    hatched = make_palette()[hatch(side, side)]
    for index, picture in enumerate(even_contrast(pictures)):
        x, y = MARGIN + index % columns * (side + 8), top + index // columns * (side + line + 6)
        enlarged = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
        sheet.lay(hatched if is_dead[index] else enlarged, x, y)
        sheet.write(labels[index], x, y + side + 4, size_px=SMALL, ink=FAINT, room=side)
    return sheet.pixels


def even_contrast(pictures: np.ndarray) -> np.ndarray:
    """Give pictures (n, h, w, 3) mean 128 and standard deviation 50, in 0..255, uint8; faint ones stay fainter."""
    mean, deviation = pictures.mean(axis=(1, 2, 3), keepdims=True), pictures.std(axis=(1, 2, 3), keepdims=True)
    return np.clip((pictures - mean) / np.maximum(deviation, 16) * 50 + 128, 0, 255).astype(np.uint8)
