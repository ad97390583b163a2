"""Many small pictures in one file: a sheet of tiles. A page shows one tile by its column and row."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cvd.data.images.pixels import load_images
from cvd.vis.explaining.geometry import find_box
from cvd.vis.explaining.heatmaps import HeatMaps
from cvd.vis.sheets.overlays import colour_heat

# Tried in turn until a sheet of photos is small enough: a tile's side in pixels, and WebP's quality. Sides are
# multiples of 16, the side of WebP's blocks: no tile colours its neighbour.
STEPS = ((128, 65), (112, 60), (96, 60), (96, 45), (80, 45), (64, 45), (48, 40))
MOST_PIXELS = 20_000_000  # of a sheet; a phone holds four bytes of each
LEVELS = 32  # of heat: a sheet of few colours is small


@dataclass(frozen=True)
class Sheet:
    """Tiles in rows: tile i lies in column i % columns of row i // columns."""

    uri: str
    width: int
    height: int
    columns: int
    rows: int

    def place(self, tile: int) -> str:
        """Place a tile as CSS does: shares of the room that the sheet has beyond it."""
        row, column = divmod(tile, self.columns)
        return f"{100 * column / max(1, self.columns - 1):.5g}% {100 * row / max(1, self.rows - 1):.5g}%"


@dataclass(frozen=True)
class HeatSheet:
    """One network's heat maps for what it says of the images of a wall."""

    sheet: Sheet
    box: tuple[float, float, float, float]  # left, top, width and height of a tile, in shares of the image
    images: list[int]  # which image of the wall each tile explains
    title: str  # of the method


def make_photo_sheet(folder: Path, paths: Sequence[str], *, most_bytes: int) -> Sheet:
    """Put images of a folder on one sheet, squashed as networks see them, as large as `most_bytes` allow."""
    side_px = 0
    for side, quality in STEPS:
        if len(paths) * side**2 > MOST_PIXELS and side != STEPS[-1][0]:
            continue
        if side != side_px:
            side_px, tiles = side, load_images(folder, paths, side)
        sheet = _lay_tiles(tiles)
        data = _encode(Image.fromarray(sheet), quality=quality, method=2)
        if len(data) <= most_bytes:
            break
    return _make_sheet(data, sheet, side_px)


def make_heat_sheet(heats: HeatMaps, paths: Sequence[str]) -> HeatSheet | None:
    """Put one network's maps of its answers, by its last layer, on one sheet; None where no image has any.

    Each map is as strong as its own largest cell; a ring without heat keeps neighbours apart.
    """
    numbers = {path: number for number, path in enumerate(paths)}
    rows = [row for row, path in enumerate(heats.paths) if path in numbers]
    if not rows:
        return None
    layer, maps = list(heats.maps.items())[-1]
    answers = maps[rows, 0]  # (n, h', w')
    largest = np.maximum(answers.max(axis=(1, 2), keepdims=True), 1e-12)
    ringed = np.pad(answers / largest, ((0, 0), (1, 1), (1, 1)))  # (n, h' + 2, w' + 2), 0..1
    sheet = _lay_tiles(_colour_heat(ringed))
    data = _encode(Image.fromarray(sheet, "RGBA"), lossless=True, method=4)
    images = [numbers[heats.paths[row]] for row in rows]
    box = find_box(heats.cells[layer], answers.shape[1:], ring=1)
    return HeatSheet(_make_sheet(data, sheet, ringed.shape[1], ringed.shape[2]), box, images, heats.title)


def _colour_heat(strength: np.ndarray) -> np.ndarray:
    """Colours and opacity of heat (n, h, w), 0..1, as on the pictures of `vis.sheets`: (n, h, w, 4), uint8."""
    colours, opacity = colour_heat(np.linspace(0, 1, LEVELS))
    table = np.rint(np.column_stack([colours, 255 * opacity])).astype(np.uint8)
    table[0] = 0
    pixels: np.ndarray = table[np.rint(strength * (LEVELS - 1)).astype(int)]
    return pixels


def _lay_tiles(tiles: np.ndarray) -> np.ndarray:
    """Lay tiles (n, h, w, c) out in about as many rows as columns: (rows * h, columns * w, c)."""
    n, height, width, channels = tiles.shape
    columns = math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    full = np.zeros((rows * columns, height, width, channels), np.uint8)
    full[:n] = tiles
    grid = full.reshape(rows, columns, height, width, channels)
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def _encode(image: Image.Image, **options: int | bool) -> bytes:
    packed = io.BytesIO()
    image.save(packed, "WEBP", **options)
    return packed.getvalue()


def _make_sheet(data: bytes, sheet: np.ndarray, height: int, width: int | None = None) -> Sheet:
    uri = f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"
    rows, columns = sheet.shape[0] // height, sheet.shape[1] // (width or height)
    return Sheet(uri, sheet.shape[1], sheet.shape[0], columns, rows)
