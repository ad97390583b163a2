"""Outlines as point lists: smooth curves, tubes, fur fringes, and where they land in the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]  # (n, 2): x to the right, y down
_ROUND_END = [f(np.linspace(np.pi / 3, -np.pi / 3, 5))[:, None] for f in (np.cos, np.sin)]


def join(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    """Make points of (n,) coordinates; a third of the time of `np.stack`."""
    points = np.empty((len(x), 2))
    points[:, 0], points[:, 1] = x, y
    return points


@dataclass(frozen=True)
class Frame:
    """A map from drawing units to pixels: scale, mirror, turn in the plane, shift."""

    scale_px: float
    origin_px: tuple[float, float]
    rotation_radians: float = 0.0
    mirror: bool = False

    def apply(self, points: ArrayLike) -> Points:
        """Map (n, 2) points of the drawing to (n, 2) points of the picture."""
        x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
        if self.mirror:
            x = -x
        cos, sin = self._turn
        turned = join(cos * x - sin * y, sin * x + cos * y)
        turned *= self.scale_px
        turned += self.origin_px
        return turned

    @cached_property
    def _turn(self) -> tuple[np.float64, np.float64]:
        return np.cos(self.rotation_radians), np.sin(self.rotation_radians)


@dataclass(frozen=True)
class Pose3D:
    """A head turned by yaw (to its side) and pitch (nose down), seen without perspective."""

    frame: Frame
    yaw_radians: float
    pitch_radians: float
    roll_radians: float = 0.0
    _matrix: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cy, sy = np.cos(self.yaw_radians), np.sin(self.yaw_radians)
        cp, sp = np.cos(self.pitch_radians), np.sin(self.pitch_radians)
        cr, sr = np.cos(self.roll_radians), np.sin(self.roll_radians)
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        object.__setattr__(self, "_matrix", roll @ pitch @ yaw)

    def turn(self, points: ArrayLike) -> NDArray[np.float64]:
        """Turn (n, 3) points, z towards the viewer; still in head units."""
        return np.asarray(points, dtype=np.float64).reshape(-1, 3) @ self._matrix.T

    def apply(self, points: ArrayLike) -> Points:
        """Map (n, 3) points of the head to (n, 2) points of the picture."""
        return self.frame.apply(self.turn(points)[:, :2])


@cache
def _circle(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    t = np.linspace(0.0, 2 * np.pi, n, endpoint=False)
    return np.cos(t), np.sin(t)


def ellipse(centre: ArrayLike, radii: tuple[float, float], *, rotation_radians: float = 0.0, n: int = 28) -> Points:
    """An ellipse as a polygon of n points."""
    (rx, ry), (cos_t, sin_t) = radii, _circle(n)
    x, y = rx * cos_t, ry * sin_t
    if rotation_radians:
        cos, sin = np.cos(rotation_radians), np.sin(rotation_radians)
        x, y = cos * x - sin * y, sin * x + cos * y
    return join(x, y) + np.asarray(centre, dtype=np.float64)


def mirror(half: Points) -> Points:
    """Close the right half of a symmetric outline, from top to bottom, with its mirror image."""
    return np.concatenate([half, half[-2:0:-1] * (-1, 1)])


def shift(outline: Points, right: float, down: float) -> Points:
    """Move an outline."""
    return outline + np.array([right, down])


@cache
def _catmull_rom(n: int) -> NDArray[np.float64]:
    t = np.linspace(0.0, 1.0, n, endpoint=False)
    return 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)


def smooth_closed(control: ArrayLike, *, per_segment: int = 8) -> Points:
    """A closed Catmull-Rom curve through the control points, (n * per_segment, 2)."""
    points = np.asarray(control, dtype=np.float64)
    neighbours = np.concatenate([points[-1:], points, points[:2]])
    windows = np.stack([neighbours[k : k + len(points)] for k in range(4)], 1)  # (n, 4, 2)
    return np.asarray(_catmull_rom(per_segment) @ windows).reshape(-1, points.shape[1])


@cache
def _bernstein(n: int) -> NDArray[np.float64]:
    t = np.linspace(0.0, 1.0, n)
    return np.stack([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3], 1)


def bezier(control: ArrayLike, *, n: int = 20) -> Points:
    """A cubic Bezier curve from its four control points, (n, 2)."""
    return np.asarray(_bernstein(n) @ np.asarray(control, dtype=np.float64))


def tube(path: Points, radii: ArrayLike) -> Points:
    """A tube of varying radius about an open path, its end rounded."""
    tangent = np.concatenate([path[1:2] - path[:1], path[2:] - path[:-2], path[-1:] - path[-2:-1]])
    tangent /= np.sqrt((tangent**2).sum(1, keepdims=True)) + 1e-9
    normal = join(-tangent[:, 1], tangent[:, 0])
    width = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(path),))[:, None]
    end = path[-1] + width[-1] * (_ROUND_END[0] * tangent[-1] + _ROUND_END[1] * normal[-1])
    return np.concatenate([path + width * normal, end, (path - width * normal)[::-1]])


def hull(*outlines: Points) -> Points:
    """The convex hull of several outlines."""
    points = np.concatenate(outlines).astype(np.float32)
    return cv2.convexHull(points).reshape(-1, 2).astype(np.float64)


def add_fringe(outline: Points, length_px: float, rng: np.random.Generator) -> Points:
    """Turn an outline in pixels into one with tufts of fur about length_px long."""
    closed = np.concatenate([outline, outline[:1]])
    steps = closed[1:] - closed[:-1]
    along = np.zeros(len(closed))
    np.sqrt(steps[:, 0] ** 2 + steps[:, 1] ** 2).cumsum(out=along[1:])
    length = float(along[-1])
    if length < 8 or length_px < 0.3:
        return outline
    n = int(min(max(length / 2.2, 12), 400))
    at = np.arange(n) * (length / n)
    x, y = (np.interp(at, along, closed[:, k]) for k in (0, 1))
    ring_x, ring_y = (np.concatenate([axis[-1:], axis, axis[:1]]) for axis in (x, y))
    next_x, next_y = ring_x[2:], ring_y[2:]
    dx, dy = next_x - ring_x[:-2], next_y - ring_y[:-2]
    norm = np.sqrt(dx**2 + dy**2) + 1e-9
    dx /= norm
    dy /= norm
    turn = np.sign(np.sum(x * next_y - y * next_x)) or 1.0
    lengths = length_px * rng.random(n) ** 1.5
    lengths[::2] *= 0.15
    lean = 0.6 * (-1.0, 1.0)[rng.integers(2)]
    return join(x + lengths * (turn * dy + lean * dx), y + lengths * (lean * dy - turn * dx))
