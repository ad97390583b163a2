"""Texture: colours and patterns, the same choice for cats and dogs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cvd.data.drawn.canvas import Texture, widen
from cvd.data.drawn.geometry import Frame
from cvd.data.drawn.noise import Field, fractal_noise, radial_strokes, stroke_noise, turn_coordinates

# (main colour, second colour), RGB 0..255: what both cats and dogs come in
_COLOURS = (
    ((38, 36, 40), (92, 84, 80)), ((70, 70, 76), (34, 33, 38)), ((120, 122, 130), (64, 64, 72)),
    ((176, 176, 180), (96, 94, 98)), ((206, 128, 62), (150, 78, 32)), ((222, 158, 92), (168, 98, 48)),
    ((236, 208, 166), (190, 146, 98)), ((240, 234, 222), (196, 178, 152)), ((128, 88, 56), (66, 42, 28)),
    ((98, 66, 44), (44, 30, 24)), ((166, 132, 94), (92, 66, 42)), ((196, 164, 124), (118, 84, 56)),
    ((150, 140, 128), (74, 66, 60)), ((178, 96, 48), (100, 48, 26)),
)  # fmt: skip
_PATTERNS = ("solid", "tabby", "patches", "spots", "points", "brindle")
_PATTERN_SHARES = (0.2, 0.24, 0.22, 0.1, 0.12, 0.12)


@dataclass(frozen=True)
class Coat:
    """One animal's fur over the picture, and its markings."""

    head: Texture
    body: Texture
    ear: Texture
    pale: Texture  # muzzle, chest and paws where marked
    dark: tuple[float, float, float]
    skin: tuple[float, float, float]  # inside the ears, paw pads
    nose: tuple[float, float, float]
    pattern: str
    has_pale_muzzle: bool
    has_blaze: bool
    has_pale_chest: bool
    has_socks: bool
    has_dark_face: bool
    fringe: float  # length of tufts, head radii


def grow_coat(shape: tuple[int, int], frame: Frame, rng: np.random.Generator) -> Coat:
    """Choose fur for one animal and lay it over the whole picture."""
    main, second = (np.array(c, np.float32) / 255 for c in _COLOURS[rng.integers(len(_COLOURS))])
    main, second = (np.clip(c * rng.uniform(0.85, 1.12) + rng.normal(0, 0.02, 3), 0.05, 0.97) for c in (main, second))
    pattern = str(rng.choice(_PATTERNS, p=_PATTERN_SHARES))
    if pattern in ("patches", "spots") and rng.random() < 0.6:
        second = np.array([0.94, 0.92, 0.88])
    white = np.array([0.95, 0.93, 0.89]) * rng.uniform(0.93, 1.03)
    pale = white if rng.random() < 0.6 else np.clip(main * 1.2 + 0.12, 0, 0.97)
    combed = stroke_noise(shape, frame.rotation_radians + rng.uniform(0.9, 2.2), 0.35 * frame.scale_px + 4, rng)
    radial = radial_strokes(shape, frame.origin_px, rng)
    depth = np.float32(rng.uniform(0.08, 0.2))
    body_texture, head_texture = 1 + depth * combed, 1 + depth * (0.75 * radial + 0.35 * combed)
    mix = _lay_pattern(pattern, shape, frame, rng)
    head_mix = mix * np.float32(rng.uniform(0.3, 1.0)) if pattern != "points" else None
    ear_colour = second if pattern == "points" or rng.random() < 0.25 else main
    skin = np.array([0.86, 0.6, 0.56]) * rng.uniform(0.75, 1.05) if rng.random() < 0.7 else main * 0.6 + 0.12
    nose = np.array([0.82, 0.48, 0.46]) if rng.random() < 0.2 else np.array([0.13, 0.1, 0.1])
    flags = rng.random(5)
    return Coat(
        head=_dye(main, second, head_mix, head_texture), body=_dye(main, second, mix, body_texture),
        ear=_dye(ear_colour, second, None, body_texture), pale=_dye(pale, pale, None, head_texture),
        dark=_triple(np.minimum(second, main) * 0.55), skin=_triple(skin), nose=_triple(nose * rng.uniform(0.8, 1.15)),
        pattern=pattern, has_pale_muzzle=bool(flags[0] < 0.5), has_blaze=bool(flags[1] < 0.22),
        has_pale_chest=bool(flags[2] < 0.45), has_socks=bool(flags[3] < 0.35),
        has_dark_face=bool(pattern == "points" or flags[4] < 0.08), fringe=float(rng.uniform(0.02, 0.16)),
    )  # fmt: skip


def _triple(colour: np.ndarray) -> tuple[float, float, float]:
    r, g, b = np.clip(colour, 0, 1)
    return float(r), float(g), float(b)


def _dye(main: np.ndarray, second: np.ndarray, mix: Field | None, strokes: Field) -> Texture:
    return Texture(widen(main), widen(second - main), mix, strokes)


def _lay_pattern(pattern: str, shape: tuple[int, int], frame: Frame, rng: np.random.Generator) -> Field:
    """Where the second colour shows, 0..1, (h, w)."""
    if pattern in ("solid", "points"):
        return np.clip(0.25 + 0.5 * fractal_noise(shape, 4, rng, octaves=2), 0, 0.5)
    units = max(shape) / frame.scale_px  # the picture's longer side in head radii
    if pattern in ("tabby", "brindle"):
        along, across = turn_coordinates(shape, frame.rotation_radians + rng.normal(0, 0.25))
        period = frame.scale_px * (rng.uniform(0.4, 0.65) if pattern == "tabby" else rng.uniform(0.2, 0.3))
        warp = fractal_noise(shape, units * 0.55, rng, octaves=3) * np.float32(1.5 * period)
        wave = np.sin((along + warp + 0.15 * across) * np.float32(2 * np.pi / period))
        gaps = fractal_noise(shape, units * 1.3, rng, octaves=2)
        return np.clip(0.3 + 1.1 * wave + 1.5 * gaps, 0, 1) * np.float32(rng.uniform(0.5, 0.95))
    cells = units * (rng.uniform(0.35, 0.6) if pattern == "patches" else rng.uniform(1.6, 2.4))
    noise = fractal_noise(shape, cells, rng, octaves=2)
    threshold = rng.uniform(-0.12, 0.15) if pattern == "patches" else rng.uniform(0.1, 0.22)
    mask = np.clip((noise - threshold) * 9, 0, 1)
    return np.asarray(cv2.blur(mask, (3, 3)), np.float32)
