"""Pictures for a page that is one file: choose them, and encode them into it."""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from cvd.runtime.vocabulary import SPLITS, Classes, add_article
from cvd.vis.charts.themes import render_figure

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Tried in turn until a picture is small enough: longest side in pixels, and WebP's quality.
STEPS = ((1600, 84), (1300, 80), (1000, 76), (800, 70), (600, 62), (420, 55), (280, 45))
NAMES = {"disagreements": "images on which the networks disagree", "augmentations": "an image in each row"}


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: a data URI and its size in pixels."""

    uri: str
    width: int
    height: int
    name: str = ""
    variant: str = ""


def _make_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def encode_figure(figure: Figure, *, dpi: int = 144) -> Picture:
    """Encode a chart as a PNG of 256 colours, a third of the size of a full one and as crisp."""
    small = Image.fromarray(render_figure(figure, dpi=dpi)).quantize(256, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    small.save(packed, "PNG")
    return Picture(_make_uri(packed.getvalue(), "png"), small.width, small.height)


def encode_picture(path: str | Path, *, most_bytes: int, name: str = "", variant: str = "") -> Picture:
    """Encode a picture file as WebP, in the first of `STEPS` whose URI is `most_bytes` at most, else in the last."""
    with Image.open(path) as image:
        image.load()
        full = image.convert("RGB")
    per_pixel = 0.0  # bytes; at lower qualities at least half as many, so what is sure to be too large is not tried
    for side, quality in STEPS:
        n_pixels = full.width * full.height * min(1.0, side / max(full.size)) ** 2
        if per_pixel / 2 * n_pixels > most_bytes and (side, quality) != STEPS[-1]:
            continue
        small = full.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=quality, method=2)
        n_bytes = 4 * buffer.tell() // 3 + 40  # of the URI
        if n_bytes <= most_bytes:
            break
        per_pixel = n_bytes / (small.width * small.height)
    return Picture(_make_uri(buffer.getvalue(), "webp"), small.width, small.height, name, variant)


def order_naturally(path: Path) -> list[tuple[int, str]]:
    """Make a key that sorts `conv2` before `conv10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.as_posix())]


def name_picture(path: Path, variant: str, classes: Classes) -> str:
    """Name a picture for its caption, in words, by its file's name: an image of a split, such as test_cat_cat.4.

    Other names are a variant's layer, or say it themselves; "" where it is the variant's own, which stands beside it.
    """
    if path.stem == variant:
        return ""
    labels = "|".join(map(re.escape, classes))
    if image := re.fullmatch(f"(?P<split>{'|'.join(SPLITS)})_(?P<label>{labels})_(?P<name>.+)", path.stem):
        return f"{image['name']}, {add_article(image['label'])} of the {image['split']} images"
    return f"layer {path.stem}" if variant else NAMES.get(path.stem, path.stem)


def choose_pictures(folder: Path, pattern: str, *, n: int) -> list[Path]:
    """Choose up to `n` pictures by their names: the first, the last, and others evenly between, in natural order."""
    paths = list_pictures(folder, pattern)
    n = min(n, len(paths))
    return [paths[round(i * (len(paths) - 1) / max(1, n - 1))] for i in range(n)]


def list_pictures(folder: Path, pattern: str) -> list[Path]:
    """List the pictures of a pattern, in natural order."""
    return sorted((path for path in folder.glob(pattern) if path.suffix.lower() in SUFFIXES), key=order_naturally)
