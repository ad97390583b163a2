"""Type, colours and files: what every picture of the project is drawn with. No TensorFlow."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 24  # around every sheet, px
GAP = 2  # between the tiles of a grid, px
INK, FAINT, PAPER = (28, 28, 30), (110, 110, 115), (255, 255, 255)
TITLE, TEXT, SMALL = 22, 15, 13  # heights of type, px


@cache
def load_font(size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib carries: the same type on every machine."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size_px)


def measure_text(text: str, size_px: int, *, bold: bool = False) -> int:
    """Width of a line of text in px."""
    return round(load_font(size_px, bold).getlength(text))


def shorten_text(text: str, width_px: int, size_px: int, *, bold: bool = False) -> str:
    """A line of text, cut with an ellipsis where it is wider than there is room."""
    if measure_text(text, size_px, bold=bold) <= width_px:
        return text
    while text and measure_text(text + "…", size_px, bold=bold) > width_px:
        text = text[:-1]
    return text.rstrip() + "…"


class Sheet:
    """A white sheet, RGB, on which pictures are laid and lines written; its size is given once."""

    def __init__(self, height: int, width: int) -> None:
        self._image = Image.new("RGB", (width, height), PAPER)
        self._pen = ImageDraw.Draw(self._image)

    def write(
        self,
        text: str,
        x: int,
        y: int,
        *,
        size_px: int = TEXT,
        bold: bool = False,
        ink: tuple[int, int, int] = INK,
        anchor: str = "la",
    ) -> None:
        """Writes a line of text; `anchor` as in Pillow: la left and top, ra right and top, ma middle, lm, rm."""
        self._pen.text((x, y), text, font=load_font(size_px, bold), fill=ink, anchor=anchor)

    def lay(self, picture: np.ndarray, x: int, y: int) -> None:
        """Lays a picture, (h, w, 3) uint8, with its upper left corner at (x, y)."""
        self._image.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))

    def rule(self, x: int, y: int, width: int) -> None:
        """Draws a thin line to the right."""
        self._pen.line((x, y, x + width - 1, y), fill=(215, 215, 220))

    @property
    def pixels(self) -> np.ndarray:
        """(h, w, 3), uint8, RGB."""
        return np.asarray(self._image)


def write_png(image: np.ndarray, path: str | Path) -> None:
    """Writes (h, w, 3) uint8 RGB or (h, w) grey as PNG; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    path.write_bytes(encoded.tobytes())


def look_up_colours(name: str) -> np.ndarray:
    """The 256 colours of a perceptually uniform map (viridis, inferno, magma), (256, 3) uint8 RGB."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    code = {"viridis": cv2.COLORMAP_VIRIDIS, "inferno": cv2.COLORMAP_INFERNO, "magma": cv2.COLORMAP_MAGMA}[name]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, code)[0, :, ::-1])


def resize_tile(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture at another size: areas are averaged when it shrinks, enlarged values stay as crisp squares."""
    grows = height >= tile.shape[0]
    return cv2.resize(tile, (width, height), interpolation=cv2.INTER_NEAREST if grows else cv2.INTER_AREA)


def fit_picture(picture: np.ndarray, side_px: int) -> np.ndarray:
    """A picture whose longer side is `side_px`, in its own aspect ratio."""
    height, width = picture.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def name_file(path: str) -> str:
    """An image's path in the manifest as a file name without its ending: test/cat/cat.3.jpg is test_cat_cat.3."""
    return name_layer_file(str(Path(path).with_suffix("")))


def name_layer_file(layer: str) -> str:
    """A layer's name as a file name."""
    return layer.replace("/", "_").replace("\\", "_")
