"""Textured surfaces to fill a background with: floors, walls, ground, sky."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cvd.data.drawn.canvas import Image, widen
from cvd.data.drawn.noise import Field, fractal_noise, stroke_noise, turn_coordinates

Shape = tuple[int, int]
Rng = np.random.Generator


def _colourise(field: Field, low: np.ndarray, high: np.ndarray) -> Image:
    image = field * widen(high - low)
    image += widen(low)
    return image


def muted_colour(rng: Rng, low: float = 0.15, high: float = 0.85) -> np.ndarray:
    """A random colour of moderate saturation."""
    grey = rng.uniform(low, high)
    return np.clip(grey + rng.normal(0, 0.15, 3), 0.04, 0.96)


def paint_planks(shape: Shape, rng: Rng) -> Image:
    """Boards with grain and seams."""
    turn = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.08)
    _, across = turn_coordinates(shape, turn)
    width = rng.uniform(14, 42)
    board = np.floor(across / np.float32(width)).astype(np.int32)
    tints = rng.uniform(-0.25, 0.25, 64).astype(np.float32)[board % 64]
    grain = stroke_noise(shape, turn, 44, rng)
    seam = np.abs(across / np.float32(width) - board - np.float32(0.5)) > 0.5 - 0.9 / width
    base = np.array([0.62, 0.44, 0.28]) * rng.uniform(0.45, 1.35) + rng.normal(0, 0.05, 3)
    image = _colourise(0.7 + tints + 0.14 * grain, base * 0.35, base)
    image *= np.where(seam, np.float32(0.5), np.float32(1))
    return image


def paint_carpet(shape: Shape, rng: Rng) -> Image:
    """A woven pile with stripes, lozenges or checks, or plain."""
    a, b = muted_colour(rng), muted_colour(rng)
    along, across = turn_coordinates(shape, rng.uniform(0, np.pi))
    period = np.float32(2 * np.pi / rng.uniform(14, 60))
    kind = rng.integers(4)
    plain = fractal_noise(shape, 6, rng)
    if kind < 3:
        along, across = np.sin(along * period), np.sin(across * period)
    wave = (along, along * across, along + across, plain)[kind]
    mix = np.clip(0.5 + wave * np.float32(rng.uniform(0.4, 2.5)), 0, 1)
    pile = rng.normal(0, 0.07, shape).astype(np.float32)
    return _colourise(mix, a, b) * (1 + pile)


def paint_grass(shape: Shape, rng: Rng) -> Image:
    """A lawn: clumps and blades."""
    green = np.array([0.36, 0.52, 0.2]) * rng.uniform(0.6, 1.25) + rng.normal(0, 0.05, 3)
    blades = stroke_noise(shape, np.pi / 2 + rng.normal(0, 0.2), rng.uniform(8, 16), rng)
    clumps = fractal_noise(shape, 9, rng)
    return _colourise(np.clip(0.5 + 0.3 * blades + 0.35 * clumps, 0, 1.2), green * 0.35, green * 1.3)


def paint_ground(shape: Shape, rng: Rng) -> Image:
    """Sand, gravel, snow or earth."""
    base = np.array([[0.8, 0.7, 0.5], [0.5, 0.46, 0.42], [0.9, 0.92, 0.95], [0.42, 0.32, 0.24]])[rng.integers(4)]
    grain = rng.normal(0, rng.uniform(0.02, 0.1), shape).astype(np.float32)
    waves = fractal_noise(shape, rng.uniform(5, 14), rng)
    return _colourise(0.75 + 0.3 * waves + grain, base * 0.45, np.minimum(base * 1.1, 1))


def paint_tiles(shape: Shape, rng: Rng) -> Image:
    """Square tiles with joints, checked or plain."""
    along, across = turn_coordinates(shape, rng.uniform(-0.8, 0.8))
    size = np.float32(rng.uniform(22, 60))
    i, j = np.floor(along / size), np.floor(across / size)
    joint = (along / size - i < 0.05) | (across / size - j < 0.05)
    mix = ((i + j) % 2 if rng.random() < 0.5 else 0 * i).astype(np.float32) + 0.12 * fractal_noise(shape, 10, rng)
    image = _colourise(mix, muted_colour(rng, 0.3, 0.9), muted_colour(rng))
    image *= np.where(joint, np.float32(rng.uniform(0.5, 0.8)), np.float32(1))
    return image


def paint_bricks(shape: Shape, rng: Rng) -> Image:
    """A brick wall."""
    high = rng.uniform(10, 24)
    wide = high * rng.uniform(2, 3)
    y = np.arange(shape[0], dtype=np.float32)[:, None] / np.float32(high)
    x = np.arange(shape[1], dtype=np.float32)[None, :] / np.float32(wide)
    row = np.floor(y)
    shifted = x + 0.5 * (row % 2)
    column = np.floor(shifted)
    tint = rng.uniform(-0.3, 0.3, 97).astype(np.float32)[((row * 31 + column * 7) % 97).astype(int)]
    joint = (y - row < 0.12) | (shifted - column < 0.06)
    base = np.array([[0.62, 0.32, 0.24], [0.6, 0.56, 0.5], [0.75, 0.7, 0.64]])[rng.integers(3)] * rng.uniform(0.6, 1.2)
    image = _colourise(0.7 + tint + 0.2 * fractal_noise(shape, 20, rng), base * 0.4, base * 1.1)
    image[:, joint] = np.clip(base + rng.uniform(-0.2, 0.3), 0.1, 0.9)[:, None]
    return image


def paint_plaster(shape: Shape, rng: Rng) -> Image:
    """A wall with a slow gradient; sometimes papered with stripes or dots."""
    a, b = muted_colour(rng, 0.2, 0.92), muted_colour(rng, 0.2, 0.92)
    along, _ = turn_coordinates(shape, rng.uniform(-np.pi, np.pi))
    mix = 0.5 + along / np.float32(2.2 * max(shape)) + 0.2 * fractal_noise(shape, 4, rng)
    image = _colourise(np.clip(mix, 0, 1), a, 0.6 * a + 0.4 * b)
    if rng.random() < 0.4:
        period = np.float32(2 * np.pi / rng.uniform(12, 45))
        x = np.arange(shape[1], dtype=np.float32)[None, :]
        y = np.arange(shape[0], dtype=np.float32)[:, None]
        wave = np.sin(x * period) if rng.random() < 0.5 else np.sin(x * period) * np.sin(y * period) - np.float32(0.4)
        paper = np.clip(wave * 4, 0, 1) * np.float32(rng.uniform(0.15, 0.6))
        image += paper * (widen(b) - image)
    return image


def paint_sky(shape: Shape, rng: Rng) -> Image:
    """A graded sky with clouds, of any hour."""
    top = np.array([[0.3, 0.52, 0.85], [0.62, 0.68, 0.75], [0.35, 0.3, 0.5], [0.55, 0.75, 0.92]])[rng.integers(4)]
    low = np.array([[0.8, 0.88, 0.95], [0.95, 0.75, 0.55], [0.85, 0.85, 0.88]])[rng.integers(3)]
    fall = np.broadcast_to(np.linspace(0, 1, shape[0], dtype=np.float32)[:, None], shape)
    cloud = np.clip(fractal_noise(shape, 3.5, rng, octaves=4) * 2.2 - 0.1, 0, 1)
    image = _colourise(fall, top, low)
    return image + 0.8 * cloud * (np.float32(0.95) - image)


def paint_leaves(shape: Shape, rng: Rng) -> Image:
    """Foliage out of focus."""
    green = np.array([0.3, 0.42, 0.18]) * rng.uniform(0.5, 1.5) + rng.normal(0, 0.06, 3)
    field = fractal_noise(shape, rng.uniform(8, 22), rng, octaves=3)
    return _colourise(np.clip(0.5 + 1.1 * field, 0, 1.2), green * 0.3, np.minimum(green * 1.5, 1))


FLOORS: tuple[Callable[[Shape, Rng], Image], ...] = (paint_planks, paint_carpet, paint_carpet, paint_tiles)
GROUNDS: tuple[Callable[[Shape, Rng], Image], ...] = (paint_grass, paint_grass, paint_ground)
WALLS: tuple[Callable[[Shape, Rng], Image], ...] = (paint_plaster, paint_plaster, paint_bricks, paint_planks)
OPEN_AIR: tuple[Callable[[Shape, Rng], Image], ...] = (paint_sky, paint_leaves, paint_bricks, paint_leaves)
