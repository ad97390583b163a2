"""A head: skull, ears, eyes and markings; the muzzle is a module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from cvd.data.drawn.canvas import Canvas, Texture
from cvd.data.drawn.coat import Coat
from cvd.data.drawn.geometry import Points, Pose3D, add_fringe, ellipse, mirror, shift, smooth_closed
from cvd.data.drawn.traits import Traits


@dataclass(frozen=True)
class Face:
    """What the painters of a head share."""

    canvas: Canvas
    pose: Pose3D
    coat: Coat
    traits: Traits
    eyelid: float  # 0 open .. above 0.6 asleep
    gaze: tuple[float, float]
    rng: np.random.Generator

    @property
    def unit_px(self) -> float:
        """The head's radius."""
        return self.pose.frame.scale_px

    def furry(self, outline: Points, share: float = 1.0) -> Points:
        """The outline with tufts as long as the coat's, times a share."""
        return add_fringe(outline, share * self.coat.fringe * self.unit_px, self.rng)


def paint_ears(face: Face, *, behind: bool) -> None:
    """Paint the ears that stand behind the skull, or those that hang before it."""
    kind = face.traits.ears
    hangs = kind in ("floppy", "long", "button")
    for side in (-1.0, 1.0):
        turned_away = face.pose.turn([[side, 0.0, 0.0]])[0, 2] < -0.25
        if (hangs and not turned_away) == behind:
            continue
        if kind in ("pointed", "erect"):
            _paint_standing_ear(face, side)
        else:
            _paint_hanging_ear(face, side)


def _paint_standing_ear(face: Face, side: float) -> None:
    t, s = face.traits, face.traits.ear_size
    if t.label == "cat":
        base, top, tip = (0.93, -0.28), (0.2, -0.82), (0.86 * t.ear_spread, -0.62 - 0.88 * s)
    else:
        base, top, tip = (0.8, -0.42), (0.26, -0.78), (0.68 * t.ear_spread, -0.7 - 1.0 * s)
    outer = [[side * base[0], base[1], -0.05], [side * (0.5 * (base[0] + tip[0]) + 0.07), 0.5 * (base[1] + tip[1]), 0],
             [side * tip[0], tip[1], 0.05], [side * (0.5 * (top[0] + tip[0]) - 0.06), 0.5 * (top[1] + tip[1]), 0.08],
             [side * top[0], top[1], 0.1]]  # fmt: skip
    shape = np.array(outer)
    points = face.pose.apply(smooth_path(shape))
    face.canvas.paint(face.furry(points, 0.6), face.coat.ear, relief=0.35, edge=0.4, is_head=True)
    centre = np.array([side * 0.62, -0.62, 0.1])
    inner = face.pose.apply(smooth_path(centre + (shape - centre) * 0.64))
    face.canvas.paint(inner, face.coat.skin, relief=0.2, edge=0.45, is_head=True, soft_px=0.03 * face.unit_px)


def smooth_path(corners: np.ndarray) -> np.ndarray:
    """A pointed shape with slightly bowed sides: straight segments, resampled."""
    closed = np.concatenate([corners, corners[:1]])
    t = np.linspace(0, 1, 6, endpoint=False)[:, None]
    return np.concatenate([a + (b - a) * t for a, b in pairwise(closed)])


def _paint_hanging_ear(face: Face, side: float) -> None:
    t, s = face.traits, face.traits.ear_size
    drop = {"floppy": 0.75, "long": 1.35, "button": 0.12}[t.ears] * s
    wide = {"floppy": 0.5, "long": 0.5, "button": 0.45}[t.ears] * s
    x0, x1 = 0.5, 0.82 * t.ear_spread
    low = -0.45 + drop
    control = np.array([
        [x0, -0.85, 0.25], [x1, -0.92, 0.15], [x1 + 0.9 * wide, -0.55 + 0.2 * drop, 0.1],
        [x1 + 0.85 * wide, low - 0.15 * wide, 0.2], [x1 + 0.35 * wide, low + 0.22, 0.3],
        [x1 - 0.1, low - 0.1 * wide, 0.3], [x1 - 0.12, -0.4 + 0.2 * drop, 0.3],
    ])  # fmt: skip
    control[:, 0] *= side
    points = face.pose.apply(smooth_closed(control))
    face.canvas.darken(shift(points, 0, 0.07 * face.unit_px), 0.35, 0.06 * face.unit_px)
    face.canvas.paint(face.furry(points), face.coat.ear.darken(0.88), relief=0.55, edge=0.45, is_head=True)
    _paint_strands(face, control)


def _paint_strands(face: Face, ear: np.ndarray) -> None:
    """Wavy locks down a hanging ear, darker and lighter than its fur."""
    root, tip = 0.5 * (ear[0] + ear[1]), ear[4]
    t = np.linspace(0.12, 0.93, 9)[:, None]
    for k in range(5):
        lean = (k - 2) * 0.22 * (ear[3] - ear[5]) * np.sin(np.pi * 0.75 * t)
        wave = 0.03 * np.sin(9 * t + k) * np.array([1.0, 0.0, 0.0])
        colour = face.coat.dark if k % 2 else tuple(min(1.0, 2.2 * c + 0.25) for c in face.coat.dark)
        lock = face.pose.apply(root + (tip - root) * t + lean + wave)
        face.canvas.stroke(lock, colour, max(1.0, 0.035 * face.unit_px), opacity=0.4, is_head=True)


def paint_skull(face: Face) -> None:
    """Paint the rounded head, its cheeks, and the markings on the brow."""
    t = face.traits
    cheek = t.jaw
    control = [[0, -0.93], [0.5, -0.84], [0.88, -0.42], [1.0 * cheek, 0.08], [0.93 * cheek, 0.5], [0.55 * cheek, 0.84],
               [0, 0.95]]  # fmt: skip
    half = np.array(control)
    outline = mirror(half)
    shape = np.concatenate([outline, np.zeros((len(outline), 1))], 1)
    roll_only = Pose3D(face.pose.frame, 0.0, 0.0, face.pose.roll_radians)
    points = roll_only.apply(smooth_closed(shape))
    face.canvas.paint(face.furry(points), face.coat.head, relief=0.5, edge=0.4, is_head=True)
    if face.coat.has_blaze:
        _mark(
            face, [(-0.1, -0.85), (0.1, -0.85), (0.2, 0.1), (0.4, 0.6), (-0.4, 0.6), (-0.2, 0.1)], face.coat.pale, 0.9
        )
    if face.coat.has_dark_face:
        _mark(face, ellipse((0, 0.25), (0.62, 0.62), n=10), face.coat.dark, 0.7)
    if face.coat.pattern == "tabby":
        _paint_brow_stripes(face)


def _mark(face: Face, control: ArrayLike, colour: ArrayLike | Texture, opacity: float) -> None:
    flat = smooth_closed(np.asarray(control))
    depth = np.sqrt(np.clip(1.0 - (flat**2).sum(1, keepdims=True), 0.05, 1))
    points = face.pose.apply(np.concatenate([flat, depth], 1))
    face.canvas.paint(points, colour, relief=0.1, edge=0, opacity=opacity, soft_px=0.07 * face.unit_px,
                      within=face.canvas.head)  # fmt: skip


def _paint_brow_stripes(face: Face) -> None:
    for x in (-0.3, -0.1, 0.1, 0.3):
        path = np.array([[x * 0.9, -0.38, 0.9], [x * 1.1, -0.6, 0.75], [x * 1.5, -0.85, 0.45]])
        face.canvas.stroke(face.pose.apply(path), face.coat.dark, 0.07 * face.unit_px, opacity=0.6,
                           within=face.canvas.head)  # fmt: skip
    for side in (-1, 1):
        for y in (0.15, 0.32):
            path = np.array([[side * 0.62, y, 0.7], [side * 0.8, y + 0.05, 0.5], [side * 0.95, y + 0.02, 0.2]])
            face.canvas.stroke(face.pose.apply(path), face.coat.dark, 0.06 * face.unit_px, opacity=0.5,
                               within=face.canvas.head)  # fmt: skip


def paint_eyes(face: Face) -> None:
    """Paint the eyes that face the viewer: lid, iris, pupil and its highlight."""
    for side in (-1.0, 1.0):
        centre = np.array([side * face.traits.eye_spread, -0.1, 0.86])
        angle = np.arctan2(centre[0], centre[2]) * 0.7
        if face.pose.turn([[np.sin(angle), 0, np.cos(angle)]])[0, 2] > 0.2:
            _paint_eye(face, centre, angle, side)


def _paint_eye(face: Face, centre: np.ndarray, angle: float, side: float) -> None:
    t, size = face.traits, face.traits.eye_size
    u, v = np.array([np.cos(angle), 0, -np.sin(angle)]), np.array([0.0, 1.0, 0.0])

    def place(flat: Points) -> Points:
        return face.pose.apply(centre + flat[:, :1] * u + flat[:, 1:] * v)

    open_ = 1.0 - face.eyelid
    tall = size * (0.86 if t.label == "cat" else 0.95) * open_
    tilt = -side * t.eye_tilt_radians
    almond = ellipse((0, 0), (size, tall), rotation_radians=tilt)
    lid = ellipse((0, 0), (size * 1.24, tall * 1.2 + 0.05), rotation_radians=tilt)
    canvas = face.canvas
    if face.eyelid > 0.6:  # asleep: a lash line
        t_arc = np.linspace(0.15 * np.pi, 0.85 * np.pi, 9)
        arc = np.stack([1.1 * size * np.cos(t_arc), 0.55 * size * np.sin(t_arc) - 0.1 * size], 1)
        canvas.stroke(place(arc), (0.1, 0.08, 0.08), 0.06 * face.unit_px, opacity=0.9, is_head=True)
        return
    canvas.paint(place(lid), (0.1, 0.08, 0.08), relief=0, edge=0, opacity=0.9, is_head=True)
    canvas.paint(place(almond), t.iris, relief=-0.5, edge=0.5, is_head=True)
    look = np.array(face.gaze) * size * 0.3
    pupil = ellipse(look, (size * t.pupil_width, min(tall * 0.92, size * max(0.8, t.pupil_width))))
    canvas.paint(place(pupil), (0.03, 0.03, 0.04), relief=0, edge=0, is_head=True)
    light_x = canvas.light[0]
    spot = look + np.array([0.3 * size * np.sign(light_x), -0.36 * tall])
    canvas.paint(place(ellipse(spot, (size * 0.24, size * 0.24), n=12)), (1, 1, 1), relief=0, edge=0, is_head=True)
    canvas.paint(place(ellipse(look - spot * 0.8, (size * 0.13, size * 0.13), n=8)), (1, 1, 1), relief=0, edge=0,
                 opacity=0.4, is_head=True)  # fmt: skip
