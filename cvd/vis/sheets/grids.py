"""Grids of channels. Drawing only: arrays in, pictures out, no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cvd.vis.sheets.drawing import GAP, MARGIN, SMALL, Sheet, look_up_colours, measure_text, resize_tile

# A grid of channels is stored as indices into a palette, a third of the size of RGB: viridis, then greys.
N_COLOURS = 200
BLACK, WHITE = N_COLOURS, 255
DARK, HATCH = 212, 224  # the two greys of a dead filter
WIDTH = 1200  # of a grid of channels, about, px
LEAST_WIDTH = 720  # room for the header, px


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
    """Lay channels (k, h, w), uint8, in rows of `columns`; dead ones are left out, so that their places stay paper.

    The grid is about `width` px wide: small tiles are enlarged by whole numbers, large ones shrunk. It is (H, W),
    uint8: indices into the palette.
    """
    room = max(8, width // columns - GAP)
    longest = max(tiles.shape[1:])
    scale = room // longest if room >= longest else room / longest
    height, breadth = (max(1, round(side * scale)) for side in tiles.shape[1:])
    rows = -(-len(tiles) // columns)
    grid = np.full((rows * (height + GAP) - GAP, columns * (breadth + GAP) - GAP), WHITE, np.uint8)
    for index in np.flatnonzero(~is_dead):
        y, x = index // columns * (height + GAP), index % columns * (breadth + GAP)
        grid[y : y + height, x : x + breadth] = index_colours(resize_tile(tiles[index], height, breadth))
    return grid


def list_numbers(numbers: Sequence[int] | np.ndarray) -> str:
    """List numbers in words, neighbours as ranges: 3, 5-8, 40."""
    ends = [index for index, step in enumerate(np.diff(numbers)) if step != 1]
    firsts, lasts = [0, *(index + 1 for index in ends)], [*ends, len(numbers) - 1]
    runs = [(numbers[first], numbers[last]) for first, last in zip(firsts, lasts, strict=True)]
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def draw_channels(activations: np.ndarray, *, layer: str, caption: str) -> np.ndarray:
    """Draw every channel of a layer, (h, w, k), with a header: layer, shape, scale, and which channels are dead.

    Gives (H, W), uint8: indices into the palette, for `write_channels`.
    """
    height, width, n_channels = activations.shape
    tiles, is_dead = standardise_channels(activations)
    columns = plan_columns(n_channels)
    grid = tile_channels(tiles, is_dead, columns=columns, width=WIDTH)
    left = MARGIN + measure_text(str(n_channels), SMALL) + 10
    top, ink = 136, BLACK + 22
    breadth = max(LEAST_WIDTH, left + grid.shape[1] + MARGIN)
    sheet = Sheet(top + grid.shape[0] + MARGIN, breadth, paper=WHITE)
    sheet.lay(grid, left, top)
    sheet.lay(ramp_colours(120, 14), MARGIN, 84)
    dead = f"{is_dead.sum()} of {n_channels} channels dead here"
    title = f"{layer}   {height} × {width} × {n_channels}"
    sheet.write_header(title, f"{caption}   ·   {dead}", ink=BLACK + 6, faint=ink)
    scale = "−2σ … +2σ of each channel by itself; rows start at the channel numbered"
    sheet.write(scale, MARGIN + 132, 83, size_px=SMALL, ink=ink, room=breadth - 2 * MARGIN - 132)
    if is_dead.any():
        names = f"left out, the same everywhere: {list_numbers(np.flatnonzero(is_dead))}"
        sheet.write(names, MARGIN, 106, size_px=SMALL, ink=ink, room=breadth - 2 * MARGIN)
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
