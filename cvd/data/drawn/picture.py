"""One drawing from start to end: scene, animal, foreground, camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from cvd.data.drawn.body import POSES, Figure, paint_body, paint_collar
from cvd.data.drawn.camera import encode_jpeg, expose
from cvd.data.drawn.canvas import Canvas, Image, Mask, rasterise
from cvd.data.drawn.coat import grow_coat
from cvd.data.drawn.geometry import Frame, Pose3D, ellipse
from cvd.data.drawn.head import Face, paint_ears, paint_eyes, paint_skull
from cvd.data.drawn.muzzle import paint_muzzle
from cvd.data.drawn.noise import open_streams
from cvd.data.drawn.occlusion import paint_foreground
from cvd.data.drawn.scene import paint_scene
from cvd.data.drawn.traits import choose_traits

HARD_SHARE = 0.3  # of both classes
MIN_SIDE_PX, MAX_SIDE_PX = 200, 320
STREAMS = ("layout", "scene", "coat", "traits", "pose", "strokes", "foreground", "camera", "jpeg")


@dataclass(frozen=True)
class Drawing:
    """A drawn photo with its truth.

    Attributes:
        animal: (h, w), uint8, 0 or 255: the visible animal.
        head: (h, w), uint8, 0 or 255: the visible head, within `animal`.
        jpeg: the encoded picture.
        label: "cat" or "dog".
    """

    animal: NDArray[np.uint8]
    head: NDArray[np.uint8]
    jpeg: bytes
    label: str

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """(h, w, 3), uint8, RGB: the decoded `jpeg`."""
        return np.asarray(cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


@dataclass(frozen=True)
class Layout:
    """Size of the picture, light, and where the animal is."""

    shape: tuple[int, int]
    light: tuple[float, float]
    pose: str
    frame: Frame
    is_hard: bool  # a hard photo: smaller, dimmer, turned away, more in front


@dataclass(frozen=True)
class Composition:
    """The composed picture: colours 0..1, and the visible coverage of animal and head, 0..1."""

    picture: Image
    animal: Mask
    head: Mask


def draw(label: str, index: int, seed: int) -> Drawing:
    """Draw one cat or dog; a pure function of its arguments.

    Args:
        label: "cat" or "dog".
        index: number of the picture within its class, >= 0.
        seed: number of the whole set, >= 0.

    Raises:
        ValueError: an unknown label or a negative number.
    """
    streams = open_streams(label, index, seed, STREAMS)
    layout = choose_layout(streams["layout"])
    composition = compose(label, layout, streams)
    pixels = expose(composition.picture, layout.light, streams["camera"], is_hard=layout.is_hard)
    jpeg = encode_jpeg(pixels, streams["jpeg"])
    animal = np.where(composition.animal > 0.5, np.uint8(255), np.uint8(0))
    head = np.where(composition.head > 0.5, animal, np.uint8(0))
    return Drawing(animal=animal, head=head, jpeg=jpeg, label=label)


def choose_layout(rng: np.random.Generator) -> Layout:
    """Choose size, light, pose and place, the same way for both labels."""
    h, w = (int(v) for v in rng.integers(MIN_SIDE_PX, MAX_SIDE_PX + 1, 2))
    angle = rng.uniform(-np.pi, 0)
    light = (float(np.cos(angle)), float(np.sin(angle)))
    names = list(POSES)
    pose = names[rng.choice(len(names), p=[POSES[n][0] for n in names])]
    _, area, right, below = POSES[pose]
    is_hard = bool(rng.random() < HARD_SHARE)
    share = rng.uniform(0.2, 0.36) if is_hard else rng.uniform(0.3, 0.62)
    low, high = (0.12, 0.2) if is_hard else (0.18, 0.35)
    scale = float(np.clip(np.sqrt(share * h * w / area), low * min(h, w), high * min(h, w)))
    mirror = bool(rng.random() < 0.5)
    turn = float(np.clip(rng.normal(0, 0.33), -0.7, 0.7))
    size = np.array([right + 1.2, below + 1.5]) * scale
    middle = np.array([(right - 1.2) / 2 * (-1 if mirror else 1), (below - 1.5) / 2]) * scale
    jitter = rng.uniform(-0.5, 0.5, 2) * np.maximum((w, h) - size, 0.35 * min(h, w))
    margin = np.array([1.0, 1.25]) * scale
    x, y = np.clip(np.array([w, h]) / 2 - middle + jitter, margin, np.array([w, h]) - 0.95 * scale)
    return Layout((h, w), light, pose, Frame(scale, (float(x), float(y)), turn, mirror), is_hard)


def compose(
    label: str, layout: Layout, streams: dict[str, np.random.Generator], *, with_animal: bool = True
) -> Composition:
    """Paint scene, animal and foreground; leaving the animal out changes nothing else."""
    shape, light, frame = layout.shape, layout.light, layout.frame
    picture = paint_scene(shape, light, streams["scene"], turn_radians=frame.rotation_radians)
    layer = _paint_animal(label, layout, streams)
    front = paint_foreground(
        shape, light, frame.origin_px, frame.scale_px, streams["foreground"], is_hard=layout.is_hard
    )
    picture *= 1 - _cast_shadow(layout, layer.alpha)
    if with_animal:
        layer.lay_over(picture)
    front.lay_over(picture)
    open_ = 1 - front.alpha
    return Composition(picture, layer.alpha * open_, layer.head * open_)


def _cast_shadow(layout: Layout, alpha: Mask) -> Mask:
    """A soft shadow beside the animal and a pool of dark below it."""
    h, w = layout.shape
    small = cv2.resize(alpha, (w // 4, h // 4), interpolation=cv2.INTER_AREA)
    unit = layout.frame.scale_px / 4
    shift = np.array([[1, 0, -layout.light[0] * 0.6 * unit], [0, 1, -layout.light[1] * 0.35 * unit]])
    moved = cv2.warpAffine(small, shift, (small.shape[1], small.shape[0]))
    below = POSES[layout.pose][3]
    foot = layout.frame.apply(ellipse((POSES[layout.pose][2] / 2 - 0.6, below - 0.1), (1.8, 0.35)))
    pool = rasterise(foot / 4, (small.shape[0], small.shape[1])).astype(np.float32) / 255
    soft = cv2.GaussianBlur(np.maximum(0.35 * moved, 0.45 * pool), (0, 0), max(1.0, 0.3 * unit))
    return cv2.resize(soft, (w, h), interpolation=cv2.INTER_LINEAR)


def _paint_animal(label: str, layout: Layout, streams: dict[str, np.random.Generator]) -> Canvas:
    frame, rng, strokes = layout.frame, streams["pose"], streams["strokes"]
    canvas = Canvas(layout.shape, layout.light)
    coat = grow_coat(layout.shape, frame, streams["coat"])
    traits = choose_traits(label, streams["traits"])
    figure = Figure(canvas, frame, coat, traits, float(rng.uniform(0.88, 1.15)), strokes)
    yaw, pitch = np.clip(
        rng.normal([0, 0.02], [0.5, 0.17] if layout.is_hard else [0.3, 0.12]), [-0.95, -0.35], [0.95, 0.4]
    )
    roll = float(np.clip(rng.normal(0, 0.22 if layout.is_hard else 0.15), -0.55, 0.55))
    eyelid = float(rng.choice([rng.uniform(0, 0.35), rng.uniform(0.4, 0.9)], p=[0.88, 0.12]))
    gaze = (float(rng.uniform(-1, 1)), float(rng.uniform(-0.5, 0.7)))
    has_collar = rng.random() < 0.3
    face = Face(canvas, Pose3D(frame, float(yaw), float(pitch), roll), coat, traits, eyelid, gaze, strokes)
    paint_body(figure, layout.pose)
    if has_collar:
        paint_collar(figure)
    canvas.darken(frame.apply(ellipse((0, 0.45), (0.85, 0.85))), 0.4, 0.22 * frame.scale_px)
    paint_ears(face, behind=True)
    paint_skull(face)
    paint_eyes(face)
    paint_muzzle(face)
    paint_ears(face, behind=False)
    return canvas
