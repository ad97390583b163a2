"""Random streams and smooth random fields."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cvd.runtime.vocabulary import CATS_AND_DOGS

Field = NDArray[np.float32]
_TILE = 112  # side of a repeated patch of strokes, pixels


def open_streams(label: str, index: int, seed: int, names: tuple[str, ...]) -> dict[str, np.random.Generator]:
    """Independent random streams of one picture, a pure function of (seed, label, index).

    Args:
        label: "cat" or "dog".
        index: number of the picture within its class, >= 0.
        seed: number of the whole set, >= 0.
        names: one stream each; a stream does not depend on how much the others are used.

    Raises:
        ValueError: an unknown label or a negative number.
    """
    if label not in CATS_AND_DOGS:
        raise ValueError(f"label must be one of {CATS_AND_DOGS}, got {label!r}")
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed must be >= 0, got index={index}, seed={seed}")
    root = np.random.SeedSequence([seed, CATS_AND_DOGS.index(label), index])
    return {n: np.random.Generator(np.random.Philox(s)) for n, s in zip(names, root.spawn(len(names)), strict=True)}


def smooth_noise(
    shape: tuple[int, int], cells: tuple[float, float], rng: np.random.Generator, *, height: float = 1.0
) -> Field:
    """Value noise in about plus or minus `height`; cells counts random values down and across."""
    rows, columns = max(2, round(cells[0])), max(2, round(cells[1]))
    grid = rng.uniform(-1.0, 1.0, (rows, columns)).astype(np.float32) * np.float32(height)
    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def fractal_noise(shape: tuple[int, int], cells: float, rng: np.random.Generator, *, octaves: int = 3) -> Field:
    """Sum of octaves of value noise, in about [-1, 1]; cells along the longer side, first octave."""
    longest = max(shape)
    total = smooth_noise(shape, (cells * shape[0] / longest, cells * shape[1] / longest), rng)
    for octave in range(1, octaves):
        n = cells * 2.0**octave
        total += smooth_noise(shape, (n * shape[0] / longest, n * shape[1] / longest), rng, height=0.5**octave)
    total *= np.float32(0.6)
    return total


def turn_coordinates(shape: tuple[int, int], rotation_radians: float) -> tuple[Field, Field]:
    """Pixel coordinates (along, across) in axes turned by an angle, centred on the picture."""
    y = np.arange(shape[0], dtype=np.float32)[:, None] - shape[0] / 2
    x = np.arange(shape[1], dtype=np.float32)[None, :] - shape[1] / 2
    cos, sin = np.float32(np.cos(rotation_radians)), np.float32(np.sin(rotation_radians))
    return cos * x + sin * y, cos * y - sin * x


def stroke_noise(shape: tuple[int, int], rotation_radians: float, length_px: float, rng: np.random.Generator) -> Field:
    """Fine strokes of about length_px in one direction, like combed fur or grass; about [-1, 1]."""
    half = max(2, int(length_px / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    dx, dy = np.cos(rotation_radians) * half, np.sin(rotation_radians) * half
    a, b = (round(half - dx), round(half - dy)), (round(half + dx), round(half + dy))
    cv2.line(kernel, a, b, 1.0, 1, cv2.LINE_AA)
    kernel /= kernel.sum()
    tile = rng.uniform(-1, 1, (_TILE, _TILE)).astype(np.float32)
    wrapped = cv2.copyMakeBorder(tile, half, half, half, half, cv2.BORDER_WRAP)
    combed = np.asarray(cv2.filter2D(wrapped, -1, kernel), np.float32)[half : half + _TILE, half : half + _TILE]
    combed = combed / (combed.std() * 2 + np.float32(1e-6))
    return np.tile(combed, (-(-shape[0] // _TILE), -(-shape[1] // _TILE)))[: shape[0], : shape[1]]


def radial_strokes(shape: tuple[int, int], centre_px: tuple[float, float], rng: np.random.Generator) -> Field:
    """Strokes that radiate from a centre, as fur does from a nose; about [-1, 1]."""
    y = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(centre_px[1])
    x = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(centre_px[0])
    radius, angle = cv2.cartToPolar(np.broadcast_to(x, shape).copy(), np.broadcast_to(y, shape).copy())
    tile = rng.uniform(-1, 1, (24, 200)).astype(np.float32)
    angle *= np.float32(200 / (2 * np.pi))
    radius *= np.float32(0.11)
    return np.asarray(cv2.remap(tile, angle, radius, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)
