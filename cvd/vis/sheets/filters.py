"""Sheets of filters: what excites each, drawn and real. Drawing only: arrays in, pictures out, no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cvd.vis.sheets.drawing import FAINT, MARGIN, SMALL, Sheet, resize_tile
from cvd.vis.sheets.grids import hatch, make_palette

FRAME = (215, 215, 220)
WIDTH = 1240  # of a sheet at most, px
SIDE = 192  # of a filter's picture at least, px
SPACE, LINE = 6, 30  # between the tiles, and below them for a line of text, px
ENLARGED = 6  # how many times the pictures of a first layer, whose patterns are of a few pixels
FAINT_DEVIATION, SHOWN_DEVIATION = 16, 50  # of pictures whose contrast is raised


class Tiles(NamedTuple):
    """What is drawn of n filters of a layer."""

    pictures: np.ndarray  # (n, s, s, 3), float32, 0..255: that excite them
    labels: Sequence[str]  # a line under each
    is_dead: np.ndarray  # (n,), bool: hatched
    patches: np.ndarray  # (n, p, s, s, 3), uint8: real ones that excite them, the strongest first
    kernels: np.ndarray  # (n, rows, columns, 3), of a first layer; (n, 0, 0, 3) of others


def draw_filters(tiles: Tiles, *, layer: str, n_filters: int, lines: Sequence[str]) -> np.ndarray:
    """Draw some of a layer's `n_filters` filters: (H, W, 3), uint8.

    Each has its kernel, if there is one, its picture, and beside that its patches, one below the other. `lines` under
    the title say how they were made.
    """
    n, side = len(tiles.pictures), max(SIDE, tiles.pictures.shape[1])
    blocks = [_draw_block(tiles, index, side) for index in range(n)]
    height, width = blocks[0].shape[:2]
    columns = min(n, max(1, (WIDTH - 2 * MARGIN) // (width + 3 * SPACE)))
    pitch = width + 3 * SPACE
    top = 58 + 22 * len(lines)
    rows = -(-n // columns)
    breadth = max(WIDTH // 2, 2 * MARGIN + columns * pitch - 3 * SPACE)
    sheet = Sheet(top + rows * (height + LINE) + MARGIN, breadth)
    sheet.write_header(f"{layer}   {n} of {n_filters} filters", lines[0])
    for number, line in enumerate(lines[1:], start=1):
        sheet.write(line, MARGIN, 54 + 22 * number, size_px=SMALL, ink=FAINT, room=breadth - 2 * MARGIN)
    for index, block in enumerate(blocks):
        x, y = MARGIN + index % columns * pitch, top + index // columns * (height + LINE)
        sheet.lay(block, x, y)
        sheet.write(tiles.labels[index], x, y + height + 5, size_px=SMALL, ink=FAINT, room=width)
    return sheet.pixels


def _draw_block(tiles: Tiles, index: int, side: int) -> np.ndarray:
    """Lay a filter's kernel, picture and patches side by side, each `side` high: (side, w, 3), uint8."""
    has_kernel = tiles.kernels.shape[1] > 0
    picture = raise_contrast(tiles.pictures[index])
    if tiles.is_dead[index]:
        shown = make_palette()[hatch(side, side)]
    elif not has_kernel:
        shown = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    else:
        part = -(-side // ENLARGED)
        first = (len(picture) - part) // 2
        middle = picture[first : first + part, first : first + part]
        shown = resize_tile(middle, part * ENLARGED, part * ENLARGED)[:side, :side]
    parts = [cv2.rectangle(np.ascontiguousarray(shown), (0, 0), (side - 1, side - 1), FRAME)]  # else white is paper
    if has_kernel:
        parts.insert(0, cv2.resize(colour_kernel(tiles.kernels[index]), (side, side), interpolation=cv2.INTER_NEAREST))
    if n_patches := tiles.patches.shape[1]:
        small = (side - SPACE * (n_patches - 1)) // n_patches
        column = np.full((side, small, 3), 255, np.uint8)
        for rank, patch in enumerate(tiles.patches[index]):
            y = rank * (small + SPACE)
            column[y : y + small] = cv2.resize(patch, (small, small), interpolation=cv2.INTER_AREA)
        parts.append(column)
    gap = np.full((side, SPACE, 3), 255, np.uint8)
    return np.concatenate([tile for part in parts for tile in (gap, part)][1:], axis=1)


def colour_kernel(kernel: np.ndarray) -> np.ndarray:
    """Colour a kernel (rows, columns, 3): grey where it is 0, white and black at its largest weight; uint8."""
    return np.rint(127.5 + 127.5 * kernel / max(float(np.abs(kernel).max()), 1e-30)).astype(np.uint8)


def raise_contrast(picture: np.ndarray) -> np.ndarray:
    """Raise a picture's deviation to 50, about its own mean; that of very faint ones to less: uint8.

    The mean stays: a white picture says that the filter answers to brightness. A deviation above 50 stays too.
    """
    mean, deviation = picture.mean(axis=(0, 1)), float(picture.std())
    gain = max(1.0, SHOWN_DEVIATION / max(deviation, FAINT_DEVIATION))
    return np.clip((picture - mean) * gain + mean, 0, 255).astype(np.uint8)
