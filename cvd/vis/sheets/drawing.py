"""Type, colours and files that every picture of the project is drawn with. No TensorFlow."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 24  # around every sheet, px
GAP = 2  # between the tiles of a grid, px
INK, FAINT, PAPER = (28, 28, 30), (110, 110, 115), (255, 255, 255)
RIGHT, WRONG = (0, 110, 80), (176, 62, 0)  # as the themes' green and vermilion
TITLE, TEXT, SMALL = 22, 15, 13  # heights of type, px
Ink = tuple[int, int, int] | int  # RGB; on a sheet of numbers, such as indices into a palette, one of them


@cache
def load_font(size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which matplotlib carries: the same type on every machine."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size_px)


def measure_text(text: str, size_px: int, *, bold: bool = False) -> int:
    """Measure the width of a line of text, px."""
    return round(load_font(size_px, bold).getlength(text))


def shorten_text(text: str, width_px: int, size_px: int, *, bold: bool = False) -> str:
    """Cut a line of text, with an ellipsis, where it is wider than the room."""
    if measure_text(text, size_px, bold=bold) <= width_px:
        return text
    while text and measure_text(text + "…", size_px, bold=bold) > width_px:
        text = text[:-1]
    return text.rstrip() + "…"


class Sheet:
    """A blank sheet on which pictures are laid and lines written; `paper` says whether it is RGB or one number."""

    def __init__(self, height: int, width: int, *, paper: Ink = PAPER) -> None:
        self._image = Image.new("RGB" if isinstance(paper, tuple) else "L", (width, height), paper)
        self._pen = ImageDraw.Draw(self._image)

    def write(
        self,
        text: str,
        x: int,
        y: int,
        *,
        size_px: int = TEXT,
        bold: bool = False,
        ink: Ink = INK,
        anchor: str = "la",
        room: int | None = None,
    ) -> None:
        """Write a line of text at (x, y), px, where `anchor` is, as in Pillow: la left and top, ra right and top.

        `size_px` is the height of type; the line is shortened to the width `room`, px, if any.
        """
        text = text if room is None else shorten_text(text, room, size_px, bold=bold)
        self._pen.text((x, y), text, font=load_font(size_px, bold), fill=ink, anchor=anchor)

    def write_header(self, title: str, caption: str, *, ink: Ink = INK, faint: Ink = FAINT) -> None:
        """Write a bold title and a caption under it, each as wide as the sheet at most."""
        room = self._image.width - 2 * MARGIN
        self.write(title, MARGIN, 20, size_px=TITLE, bold=True, ink=ink, room=room)
        self.write(caption, MARGIN, 54, ink=faint, room=room)

    def lay(self, picture: np.ndarray, x: int, y: int) -> None:
        """Lay a picture, (h, w, 3) or (h, w) uint8, with its upper left corner at (x, y)."""
        self._image.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))

    def rule(self, x: int, y: int, width: int) -> None:
        """Draw a thin line to the right."""
        self._pen.line((x, y, x + width - 1, y), fill=(215, 215, 220))

    @property
    def pixels(self) -> np.ndarray:
        """(h, w, 3) or (h, w), uint8."""
        return np.asarray(self._image)


def write_png(image: np.ndarray, path: str | Path) -> None:
    """Write (h, w, 3) uint8 RGB or (h, w) grey as PNG; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    path.write_bytes(encoded.tobytes())


def look_up_colours(name: str) -> np.ndarray:
    """Look up the 256 colours of a perceptually uniform map (viridis, inferno, magma), (256, 3) uint8 RGB."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    code = {"viridis": cv2.COLORMAP_VIRIDIS, "inferno": cv2.COLORMAP_INFERNO, "magma": cv2.COLORMAP_MAGMA}[name]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, code)[0, :, ::-1])


def resize_tile(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a picture: areas are averaged when it shrinks, enlarged values stay as crisp squares."""
    grows = height >= tile.shape[0]
    return cv2.resize(tile, (width, height), interpolation=cv2.INTER_NEAREST if grows else cv2.INTER_AREA)


def fit_picture(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Resize a picture to a longer side of `side_px`, in its own aspect ratio."""
    height, width = picture.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def name_file(path: str) -> str:
    """Turn an image's path in the manifest into a file name: test/cat/cat.3.jpg is test_cat_cat.3."""
    return name_layer_file(str(Path(path).with_suffix("")))


def name_layer_file(layer: str) -> str:
    """Turn a layer's name into a file name."""
    return layer.replace("/", "_").replace("\\", "_")
