"""What stands between the camera and the animal: grass, a fence, a box, leaves, a hand."""

from __future__ import annotations

import numpy as np

from cvd.data.drawn.canvas import Canvas
from cvd.data.drawn.geometry import bezier, ellipse, hull, shift, tube
from cvd.data.drawn.surfaces import muted_colour

Rng = np.random.Generator
_KINDS = ("none", "grass", "fence", "box", "leaves", "hand", "blob")
_SHARES = (0.38, 0.15, 0.1, 0.1, 0.12, 0.07, 0.08)


def paint_foreground(
    shape: tuple[int, int],
    light: tuple[float, float],
    head_px: tuple[float, float],
    radius_px: float,
    rng: Rng,
    *,
    is_hard: bool,
) -> Canvas:
    """Paint a layer of things in front; it may cover part of the head, never most of it.

    Args:
        shape: (h, w) of the picture.
        light: direction to the light.
        head_px: centre of the animal's head.
        radius_px: radius of the head.
        rng: the stream to draw from.
        is_hard: twice as much may stand in front.
    """
    canvas = Canvas(shape, light)
    for kind in rng.choice(_KINDS, size=2 if is_hard else 1, p=_SHARES):
        if kind == "grass":
            _grass(canvas, head_px[1] + radius_px * rng.uniform(0.6, 1.6), rng)
        elif kind == "fence":
            _fence(canvas, head_px, radius_px, rng)
        elif kind == "box":
            _box(canvas, head_px[1] + radius_px * rng.uniform(0.95, 2.2), radius_px * rng.uniform(0.5, 0.9), rng)
        elif kind == "leaves":
            _leaves(canvas, head_px, radius_px, rng)
        elif kind == "hand":
            _hand(canvas, head_px, radius_px, rng)
        elif kind == "blob":
            _blob(canvas, head_px, radius_px, rng)
    return canvas


def _grass(canvas: Canvas, top_px: float, rng: Rng) -> None:
    h, w = canvas.shape
    green = np.array([0.32, 0.48, 0.18]) * rng.uniform(0.5, 1.5) + rng.normal(0, 0.04, 3)
    for _ in range(rng.integers(10, 34)):
        x, lean = rng.uniform(0, w), rng.normal(0, 0.1) * h
        tip = max(top_px, h * 0.55) + rng.uniform(-0.08, 0.25) * h
        path = bezier([[x, h + 4], [x, 0.6 * h + 0.4 * tip], [x + 0.3 * lean, tip + 0.1 * h], [x + lean, tip]], n=9)
        canvas.paint(tube(path, np.linspace(rng.uniform(1.2, 3), 0.4, 9)), np.clip(green * rng.uniform(0.6, 1.4), 0, 1),
                     relief=0, edge=0)  # fmt: skip


def _fence(canvas: Canvas, head_px: tuple[float, float], radius_px: float, rng: Rng) -> None:
    h, w = canvas.shape
    colour = muted_colour(rng, 0.1, 0.9)
    if rng.random() < 0.5:  # wire
        gap = radius_px * rng.uniform(0.7, 1.3)
        for k in range(-int(h / gap) - 1, int((w + h) / gap) + 1):
            for lean in (-h, h):
                x = k * gap
                line = np.array([[x, 0.0], [x + lean * 0.8, h]])
                canvas.stroke(line, colour, 1.2, opacity=0.85)
        return
    wide = radius_px * rng.uniform(0.12, 0.3)
    gap = radius_px * rng.uniform(1.5, 2.6)
    start = head_px[0] + rng.uniform(0.45, 0.75) * gap
    for x in np.arange(start % gap - gap, w + gap, gap):
        canvas.paint(
            np.array([[x - wide, -5], [x + wide, -5], [x + wide, h + 5], [x - wide, h + 5]]), colour, relief=0.4
        )


def _box(canvas: Canvas, top_px: float, board_px: float, rng: Rng) -> None:
    """A crate or a wall of boards."""
    h, w = canvas.shape
    top = max(top_px, 0.5 * h)
    slope = rng.normal(0, 0.05) * w
    colour = muted_colour(rng, 0.2, 0.85)
    colour = colour.mean() + 0.6 * (colour - colour.mean())  # it may fill half of the picture
    corners = np.array([[-5, top - slope], [w + 5, top + slope], [w + 5, h + 5], [-5, h + 5]])
    if rng.random() < 0.5:
        corners[:, 0] = np.clip(corners[:, 0], *np.sort(rng.uniform(-0.2, 1.2, 2) * w))
    if np.ptp(corners[:, 0]) > 10:
        canvas.paint(corners, colour, relief=0.2, edge=0.15)
        canvas.stroke(shift(corners[:2], 0, 3), np.clip(colour * 1.25, 0, 1), 3, opacity=0.6)
        for down in np.arange(board_px, h - top + abs(slope), board_px):
            canvas.stroke(shift(corners[:2], 0, down), colour * 0.45, 1.6, opacity=0.7)
            canvas.stroke(shift(corners[:2], 0, down + 2), np.clip(colour * 1.2, 0, 1), 1.2, opacity=0.4)


def _leaves(canvas: Canvas, head_px: tuple[float, float], radius_px: float, rng: Rng) -> None:
    h, w = canvas.shape
    green = np.array([0.25, 0.42, 0.18]) * rng.uniform(0.5, 1.6) + rng.normal(0, 0.05, 3)
    corner = np.array([rng.choice([-0.02, 1.02]) * w, rng.choice([0.0, 1.0]) * h])
    for _ in range(rng.integers(4, 11)):
        root = corner + rng.normal(0, 0.16, 2) * np.array([w, h])
        aim = np.array(head_px) - root
        aim = aim / (np.linalg.norm(aim) + 1e-6) * min(h, w) * rng.uniform(0.12, 0.35)
        turn = rng.normal(0, 0.6)
        aim = np.array([aim[0] * np.cos(turn) - aim[1] * np.sin(turn), aim[0] * np.sin(turn) + aim[1] * np.cos(turn)])
        path = np.linspace(root, root + aim, 9)
        radii = np.sin(np.linspace(0.1, np.pi - 0.05, 9)) * np.linalg.norm(aim) * 0.2
        canvas.paint(tube(path, radii), np.clip(green * rng.uniform(0.6, 1.4), 0, 1), relief=0.4, edge=0.2)
        canvas.stroke(path, np.clip(green * 1.5, 0, 1), 1, opacity=0.5)


def _hand(canvas: Canvas, head_px: tuple[float, float], radius_px: float, rng: Rng) -> None:
    skin = np.array([0.85, 0.65, 0.53]) * rng.uniform(0.4, 1.1)
    side = rng.choice([-1.0, 1.0])
    palm = shift(np.array(head_px), side * radius_px * rng.uniform(1.1, 1.8), radius_px * rng.uniform(0.5, 1.6))
    away = shift(palm, side * 6 * radius_px, radius_px * rng.uniform(0.0, 3.0))
    arm = tube(np.linspace(away, palm, 6), radius_px * 0.33)
    canvas.paint(arm, muted_colour(rng), relief=0.5)
    for k in range(4):
        tip = shift(palm, -side * radius_px * rng.uniform(0.55, 0.75), (k - 1.5) * radius_px * 0.2)
        canvas.paint(
            tube(np.linspace(shift(palm, 0, (k - 1.5) * radius_px * 0.14), tip, 5), radius_px * 0.11), skin, relief=0.4
        )
    canvas.paint(ellipse(palm, (0.42 * radius_px, 0.38 * radius_px)), skin, relief=0.5)


def _blob(canvas: Canvas, head_px: tuple[float, float], radius_px: float, rng: Rng) -> None:
    """Something close and out of focus at the frame's edge."""
    h, w = canvas.shape
    x = rng.choice([-0.05, 1.05]) * w
    far = np.clip(abs(x - head_px[0]) - 0.55 * radius_px, 6, 0.35 * w)
    end = (x, h * rng.uniform(0.3, 1.0))
    shape = hull(ellipse(end, (far, far)), ellipse((x, h * 1.1), (far, far)))
    canvas.paint(shape, muted_colour(rng), relief=0.2, edge=0.1, soft_px=rng.uniform(2, 6))
