"""Small pictures and archives for tests of the intake."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def make_picture(seed: int, *, width: int = 64, height: int = 48) -> Image.Image:
    """A picture with coarse and fine detail, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    fine = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def make_jpeg(seed: int, **size: int) -> bytes:
    return encode(make_picture(seed, **size), quality=90)


def write_zip(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data, compression)
    return path


def make_members(n_per_class: int) -> dict[str, bytes]:
    """Kaggle's flat layout."""
    return {
        f"train/{name}.{i}.jpg": make_jpeg(1000 * label + i)
        for label, name in enumerate(("cat", "dog"))
        for i in range(n_per_class)
    }
