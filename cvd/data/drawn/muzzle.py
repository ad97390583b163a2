"""The lower face: a cat's small lobes and whiskers, a dog's snout, nose and tongue."""

from __future__ import annotations

import numpy as np

from cvd.data.drawn.canvas import Texture
from cvd.data.drawn.geometry import Points, ellipse, hull, shift, smooth_closed
from cvd.data.drawn.head import Face

_LINE = (0.14, 0.1, 0.1)


def paint_muzzle(face: Face) -> None:
    """Paint nose, mouth and whiskers as the label asks."""
    if face.traits.label == "cat":
        _paint_cat_muzzle(face)
    else:
        _paint_dog_muzzle(face)


def _disc(face: Face, centre: tuple[float, float, float], radii: tuple[float, float], n: int = 24) -> Points:
    """A disc that faces the viewer, about a point of the head."""
    flat = ellipse((0, 0), radii, n=n)
    cr, sr = np.cos(face.pose.roll_radians), np.sin(face.pose.roll_radians)
    middle = face.pose.turn([centre])[0, :2]
    turned = np.stack([cr * flat[:, 0] - sr * flat[:, 1], sr * flat[:, 0] + cr * flat[:, 1]], 1)
    return face.pose.frame.apply(turned + middle)


def _fur(face: Face) -> Texture:
    return face.coat.pale if face.coat.has_pale_muzzle else face.coat.head


def _paint_cat_muzzle(face: Face) -> None:
    t, canvas, unit = face.traits, face.canvas, face.unit_px
    z, w = 0.88 + t.muzzle_length, t.muzzle_width
    canvas.paint(_disc(face, (0, 0.68, z - 0.2), (0.24, 0.17)), _fur(face), relief=0.4, edge=0.35, is_head=True)
    for side in (-1, 1):
        lobe = _disc(face, (side * 0.72 * w, 0.47, z - 0.06), (w, 0.78 * w))
        canvas.paint(lobe, _fur(face), relief=0.35, edge=0.28, is_head=True)
    n = t.nose_size
    corners = [
        [-n, 0.24, z],
        [0, 0.22, z + 0.03],
        [n, 0.24, z],
        [0.25 * n, 0.24 + 1.1 * n, z],
        [-0.25 * n, 0.24 + 1.1 * n, z],
    ]
    canvas.paint(
        face.pose.apply(smooth_closed(corners, per_segment=5)), face.coat.nose, relief=0.5, edge=0.3, is_head=True
    )
    _paint_cat_mouth(face, z)
    _paint_whiskers(face, z)
    spot = _disc(face, (-0.03, 0.26, z + 0.04), (0.035, 0.02), n=8)
    canvas.paint(spot, (1, 1, 1), relief=0, edge=0, opacity=0.5, soft_px=0.01 * unit, is_head=True)


def _paint_cat_mouth(face: Face, z: float) -> None:
    y = 0.24 + 1.1 * face.traits.nose_size
    width = 0.035 * face.unit_px
    face.canvas.stroke(face.pose.apply([[0, y, z], [0, y + 0.17, z]]), _LINE, width, opacity=0.8, is_head=True)
    for side in (-1, 1):
        curve = [
            [0, y + 0.17, z],
            [side * 0.09, y + 0.24, z],
            [side * 0.2, y + 0.24, z - 0.03],
            [side * 0.3, y + 0.16, z - 0.08],
        ]
        face.canvas.stroke(face.pose.apply(curve), _LINE, width, opacity=0.8, is_head=True)


def _paint_whiskers(face: Face, z: float) -> None:
    pale = face.coat.head.measure_brightness() < 0.75
    colour = (0.97, 0.97, 0.95) if pale else (0.25, 0.22, 0.2)
    n, rng = face.traits.n_whiskers, face.rng
    for side in (-1, 1):
        for k in range(n):
            fan = (k / (n - 1) - 0.45) * 0.75 + rng.normal(0, 0.05)
            reach = rng.uniform(0.85, 1.2)
            t = np.linspace(0, 1, 8)
            path = np.stack(
                [side * (0.22 + reach * t), 0.46 + fan * 0.2 + fan * 0.75 * t + 0.12 * t**2, z - 0.45 * t], 1
            )
            face.canvas.stroke(face.pose.apply(path), colour, max(1.0, 0.018 * face.unit_px), opacity=0.6, is_head=True)


def _paint_dog_muzzle(face: Face) -> None:
    t, canvas, unit = face.traits, face.canvas, face.unit_px
    length, w = t.muzzle_length, t.muzzle_width
    z = 0.85 + length
    open_ = 0.16 if t.has_tongue else 0.04
    jaw = hull(_disc(face, (0, 0.55, 0.5), (0.9 * w, 0.35)), _disc(face, (0, 0.68 + open_, z - 0.22), (0.62 * w, 0.2)))
    canvas.paint(face.furry(jaw, 0.4), _fur(face).darken(0.8), relief=0.4, edge=0.35, is_head=True)
    if t.has_tongue:
        _paint_tongue(face, z)
    snout = hull(_disc(face, (0, 0.36, 0.55), (0.86 * w, 0.32)), _disc(face, (0, 0.48, z - 0.12), (0.86 * w, 0.3)))
    canvas.darken(shift(snout, 0, 0.06 * unit), 0.3, 0.05 * unit)
    canvas.paint(face.furry(snout, 0.3), _fur(face), relief=0.5, edge=0.3, is_head=True)
    for side in _find_near_lips(face):
        jowl = _disc(face, (side * 0.42 * w, 0.56, z - 0.1), (0.52 * w, 0.26))
        canvas.paint(jowl, _fur(face), relief=0.35, edge=0.22, is_head=True)
    _paint_freckles(face, z)
    _paint_dog_nose(face, z)


def _find_near_lips(face: Face) -> list[int]:
    """The sides of a snout that the viewer sees, -1 and 1: of one in profile the nearer alone."""
    return [side for side in (-1, 1) if face.pose.turn([[0.6 * side, 0.0, 0.8]])[0, 2] > 0.3]


def _paint_freckles(face: Face, z: float) -> None:
    """The dark dots on a dog's lips, where its short bristles grow."""
    w = face.traits.muzzle_width
    for side in _find_near_lips(face):
        for x, y in ((0.45, 0.5), (0.68, 0.46), (0.58, 0.6), (0.82, 0.58)):
            dot = _disc(face, (side * x * w, y, z - 0.12 * x), (0.035, 0.03), n=8)
            face.canvas.paint(dot, _LINE, relief=0, edge=0, opacity=0.75, is_head=True)


def _paint_tongue(face: Face, z: float) -> None:
    x = face.rng.uniform(-0.1, 0.1)
    drop = face.rng.uniform(0.25, 0.55)
    control = [[x - 0.17, 0.62, z - 0.15], [x + 0.17, 0.62, z - 0.15], [x + 0.17, 0.8 + 0.7 * drop, z - 0.1],
               [x, 0.9 + drop, z - 0.1], [x - 0.17, 0.8 + 0.7 * drop, z - 0.1]]  # fmt: skip
    pink = (0.88, 0.46, 0.48)
    face.canvas.paint(face.pose.apply(smooth_closed(control)), pink, relief=0.4, edge=0.3, is_head=True)
    line = face.pose.apply([[x, 0.68, z - 0.1], [x, 0.82 + 0.7 * drop, z - 0.08]])
    face.canvas.stroke(line, (0.7, 0.3, 0.34), 0.03 * face.unit_px, opacity=0.7, is_head=True)


def _paint_dog_nose(face: Face, z: float) -> None:
    n, canvas, unit = face.traits.nose_size, face.canvas, face.unit_px
    y = 0.3
    control = [[-n, y - 0.2 * n, z], [-0.5 * n, y - 0.6 * n, z], [0.5 * n, y - 0.6 * n, z], [n, y - 0.2 * n, z],
               [0.75 * n, y + 0.45 * n, z], [0.2 * n, y + 0.72 * n, z + 0.04], [-0.2 * n, y + 0.72 * n, z + 0.04],
               [-0.75 * n, y + 0.45 * n, z]]  # fmt: skip
    canvas.paint(
        face.pose.apply(smooth_closed(control, per_segment=5)), face.coat.nose, relief=0.6, edge=0.25, is_head=True
    )
    for side in (-1, 1):
        nostril = _disc(face, (side * 0.48 * n, y + 0.15 * n, z + 0.02), (0.2 * n, 0.16 * n), n=10)
        canvas.paint(nostril, (0.02, 0.02, 0.02), relief=0, edge=0, opacity=0.8, is_head=True)
    shine = _disc(face, (-0.25 * n, y - 0.32 * n, z + 0.03), (0.3 * n, 0.13 * n), n=12)
    canvas.paint(shine, (1, 1, 1), relief=0, edge=0, opacity=0.55, soft_px=0.02 * unit, is_head=True)
    top = y + 0.7 * n
    canvas.stroke(face.pose.apply([[0, top, z], [0, 0.66, z - 0.02]]), _LINE, 0.035 * unit, opacity=0.7, is_head=True)
    for side in (-1, 1):
        w = face.traits.muzzle_width
        curve = [[0, 0.66, z - 0.02], [side * 0.4 * w, 0.78, z - 0.08], [side * 0.85 * w, 0.7, z - 0.25]]
        smooth = np.array(curve)[[0, 1, 1, 2]]
        canvas.stroke(face.pose.apply(smooth), _LINE, 0.04 * unit, opacity=0.6, is_head=True)
