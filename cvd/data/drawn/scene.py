"""Backgrounds: two surfaces that meet at a horizon, and the clutter that stands about."""

from __future__ import annotations

import cv2
import numpy as np

from cvd.data.drawn.canvas import Canvas, Image, blend
from cvd.data.drawn.geometry import Points, bezier, ellipse, hull, shift, smooth_closed, tube
from cvd.data.drawn.noise import fractal_noise
from cvd.data.drawn.surfaces import FLOORS, GROUNDS, OPEN_AIR, WALLS, muted_colour, paint_carpet

Rng = np.random.Generator


def paint_scene(shape: tuple[int, int], light: tuple[float, float], rng: Rng, *, turn_radians: float) -> Image:
    """A whole background, RGB 0..1, without an animal, seen by a camera turned by an angle."""
    indoors = rng.random() < 0.55
    image = paint_carpet(shape, rng) if rng.random() < 0.14 else _join_surfaces(shape, indoors, turn_radians, rng)
    canvas = Canvas(shape, light)
    canvas.colour, canvas.alpha = image, np.ones(shape, np.float32)
    for _ in range(rng.integers(1, 6)):
        _paint_thing(canvas, indoors, rng)
    if rng.random() < 0.75:
        # all channels at once: one by one, the last bits differ
        blurred = cv2.GaussianBlur(cv2.merge(tuple(canvas.colour)), (0, 0), rng.uniform(0.6, 2.2))
        cv2.mixChannels([blurred], list(canvas.colour), [0, 0, 1, 1, 2, 2])
    return canvas.colour.clip(0, 1, out=canvas.colour)


def _join_surfaces(shape: tuple[int, int], indoors: bool, turn_radians: float, rng: Rng) -> Image:
    h, w = shape
    far = (WALLS if indoors else OPEN_AIR)[rng.integers(4)]
    near = FLOORS[rng.integers(4)] if indoors else GROUNDS[rng.integers(3)]
    back, front = far(shape, rng), near(shape, rng)
    line = h * rng.uniform(0.25, 0.8) + np.linspace(-0.5, 0.5, w) * (np.tan(turn_radians) + rng.normal(0, 0.04)) * w
    if not indoors:
        line = line + fractal_noise((2, w), 3, rng)[0] * rng.uniform(0, 25)
    height = np.arange(h)[:, None] - line  # below the line is positive, (h, w)
    top = max(0, int(line.min()) - 1)
    blend(back[:, top:], front[:, top:], (height[top:] + 0.5).clip(0, 1).astype(np.float32))
    np.abs(height, out=height)
    height /= -rng.uniform(6, 30)
    near_line = np.exp(height, out=height).astype(np.float32)
    back *= 1 - np.float32(0.35) * near_line
    return back


def _paint_thing(canvas: Canvas, indoors: bool, rng: Rng) -> None:
    """One piece of clutter: furniture, ball, plant, roof, stone, frame..."""
    h, w = canvas.shape
    side = min(h, w)
    centre = (rng.uniform(-0.05, 1.05) * w, rng.uniform(0.0, 1.0) * h)
    size = side * rng.uniform(0.06, 0.3)
    painters = (
        (_box, _box, _ball, _wedge, _plant, _cushion, _stripe)
        if indoors
        else (_box, _ball, _wedge, _wedge, _plant, _stone, _stripe)
    )
    painters[rng.integers(len(painters))](canvas, centre, size, rng)


def _put(canvas: Canvas, outline: Points, rng: Rng, *, relief: float = 0.3, colour: np.ndarray | None = None) -> None:
    shadow = shift(outline, 3.0, 5.0)
    canvas.darken(shadow, 0.3, 4.0)
    canvas.paint(outline, muted_colour(rng, 0.1, 0.9) if colour is None else colour, relief=relief, edge=0.15)


def _box(canvas: Canvas, centre: tuple[float, float], size: float, rng: Rng) -> None:
    wide, high = size * rng.uniform(0.5, 1.8), size * rng.uniform(0.5, 1.6)
    turn = rng.normal(0, 0.12)
    corners = np.array([[-wide, -high], [wide, -high], [wide, high], [-wide, high]])
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    _put(canvas, corners @ rotation + centre, rng, relief=0.1)
    if rng.random() < 0.6:
        _inset(canvas, corners * 0.72 @ rotation + centre, rng)
    if rng.random() < 0.4:
        for y in np.linspace(-0.6, 0.6, 3):
            line = np.array([[-wide, y * high], [wide, y * high]]) @ rotation + centre
            canvas.stroke(line, (0.1, 0.08, 0.08), 1.5, opacity=0.5)


def _inset(canvas: Canvas, outline: Points, rng: Rng) -> None:
    canvas.paint(outline, muted_colour(rng), relief=0.1, edge=0.2)


def _ball(canvas: Canvas, centre: tuple[float, float], size: float, rng: Rng) -> None:
    r = size * rng.uniform(0.35, 0.9)
    _put(canvas, ellipse(centre, (r, r)), rng, relief=0.8)
    kind = rng.integers(4)
    if kind == 0:
        canvas.stroke(ellipse(centre, (0.5 * r, 0.95 * r)), muted_colour(rng), 2.0, opacity=0.8)
    elif kind == 1:  # a dark middle, like a nose or an eye
        canvas.paint(ellipse(centre, (0.4 * r, 0.35 * r)), (0.08, 0.07, 0.07), relief=0.3, edge=0.1)
    elif kind == 2:
        for dx in (-0.4, 0.4):
            canvas.paint(ellipse((centre[0] + dx * r, centre[1] - 0.2 * r), (0.16 * r, 0.18 * r)), (0.05, 0.05, 0.05),
                         relief=0, edge=0)  # fmt: skip


def _wedge(canvas: Canvas, centre: tuple[float, float], size: float, rng: Rng) -> None:
    """A roof, tent, pennant or pair of peaks."""
    colour = muted_colour(rng, 0.1, 0.9)
    for dx in (0.0,) if rng.random() < 0.5 else (-0.8, 0.8):
        tip = (rng.uniform(-0.3, 0.3), -rng.uniform(0.5, 1.5))
        corners = np.array([[-0.6, 0.5], [0.6, 0.5], tip]) * size * 0.8 + np.array([centre[0] + dx * size, centre[1]])
        _put(canvas, corners, rng, colour=colour)
        if rng.random() < 0.4:
            middle = corners.mean(0)
            _inset(canvas, middle + (corners - middle) * 0.6, rng)


def _plant(canvas: Canvas, centre: tuple[float, float], size: float, rng: Rng) -> None:
    green = np.array([0.25, 0.42, 0.2]) * rng.uniform(0.6, 1.5)
    for _ in range(rng.integers(5, 10)):
        tip = np.array([rng.uniform(-1, 1), -rng.uniform(0.3, 1.6)]) * size
        path = bezier(np.array([(0, 0), (0, -0.4 * size), tip * 0.7, shift(tip, 0, 0.2 * size)]), n=9) + centre
        radii = np.sin(np.linspace(0.15, np.pi - 0.1, 9)) * size * 0.13
        canvas.paint(tube(path, radii), np.clip(green * rng.uniform(0.7, 1.3), 0, 1), relief=0.4, edge=0.2)
    pot = np.array([[-0.35, 0], [0.35, 0], [0.25, 0.6], [-0.25, 0.6]]) * size + centre
    _put(canvas, pot, rng)


def _cushion(canvas: Canvas, centre: tuple[float, float], size: float, rng: Rng) -> None:
    colour = muted_colour(rng, 0.15, 0.9)
    for dx in np.arange(-1, 1 + rng.integers(0, 2)):
        box = np.array([[-1, -0.9], [0, -0.96], [1, -0.9], [1.02, 0], [1, 0.9], [0, 0.96], [-1, 0.9], [-1.02, 0]])
        _put(canvas, shift(smooth_closed(box * size * 0.7), centre[0] + dx * 1.4 * size, centre[1]), rng, relief=0.6,
             colour=colour)  # fmt: skip


def _stone(canvas: Canvas, centre: tuple[float, float], size: float, rng: Rng) -> None:
    radii = rng.uniform(0.6, 1.1, 7)
    angles = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    ring = np.stack([radii * np.cos(angles), 0.7 * radii * np.sin(angles)], 1)
    _put(canvas, smooth_closed(ring * size * 0.8) + centre, rng, relief=0.7)


def _stripe(canvas: Canvas, centre: tuple[float, float], size: float, rng: Rng) -> None:
    """A pole, a trunk or a cable."""
    x, h = centre[0], canvas.shape[0]
    wide = size * rng.uniform(0.05, 0.35)
    lean = rng.normal(0, 0.15) * h
    _put(canvas, hull(ellipse((x, -10), (wide, 2)), ellipse((x + lean, h * rng.uniform(0.5, 1.1)), (wide, 2))), rng,
         relief=0.5)  # fmt: skip
