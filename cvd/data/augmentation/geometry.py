"""Flip, rotation, shift, shear and zoom as one affine warp per image: one matrix, one interpolation."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from cvd.data.augmentation.draws import GEOMETRY, Augmentation, draw_numbers


@dataclass(frozen=True)
class Affine:
    """The values sampled for one image, as Keras' ImageDataGenerator defines them, and their matrix.

    They map the output to the input: the content moves the other way, in this order.
    """

    rotation_degrees: float  # positive turns the content counter-clockwise on the screen
    shift_x: float  # fraction of the width; positive moves the turned content left
    shift_y: float  # fraction of the height; positive moves the turned content up
    shear_degrees: float  # positive moves the content's bottom right, against its top
    zoom_x: float  # above 1 the content gets narrower by this factor
    zoom_y: float  # above 1 the content gets lower by this factor
    flip: bool  # whether the result is mirrored left to right
    matrix: np.ndarray  # (2, 3) float64; maps an output pixel's (x, y, 1) to the input's (x, y)


def sample_affine(augmentation: Augmentation, *, epoch: int, index: int, height: int, width: int) -> Affine:
    """Sample one image's warp. Changing one range changes that one value only."""
    numbers = draw_numbers(GEOMETRY, augmentation, epoch=epoch, index=index, n=7)
    rotation, shift_x, shift_y, shear, zoom_x, zoom_y, flip = numbers
    # 2u - 1 is uniform in -1..1
    return make_affine(
        rotation_degrees=augmentation.rotation_degrees * (2 * rotation - 1),
        shift_x=augmentation.shift_fraction * (2 * shift_x - 1),
        shift_y=augmentation.shift_fraction * (2 * shift_y - 1),
        shear_degrees=augmentation.shear_degrees * (2 * shear - 1),
        zoom_x=1 + augmentation.zoom_fraction * (2 * zoom_x - 1),
        zoom_y=1 + augmentation.zoom_fraction * (2 * zoom_y - 1),
        flip=augmentation.horizontal_flip and flip < 0.5,
        height=height,
        width=width,
    )


def make_affine(
    *,
    rotation_degrees: float = 0.0,
    shift_x: float = 0.0,
    shift_y: float = 0.0,
    shear_degrees: float = 0.0,
    zoom_x: float = 1.0,
    zoom_y: float = 1.0,
    flip: bool = False,
    height: int,
    width: int,
) -> Affine:
    """Compose the matrix, about the image's centre c: x -> c + R (t + S Z F (x - c)).

    R is the rotation, t the shift in pixels, S the shear, Z the zoom, F the flip: the order of Keras'
    `apply_affine_transform`, and the flip after it. Multiplied out here; the tests compose it step by step.
    """
    angle, slant = math.radians(rotation_degrees), math.radians(shear_degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    first = -zoom_x if flip else zoom_x
    up, down = -math.sin(slant) * zoom_y, math.cos(slant) * zoom_y
    (a, b), (c, d) = (cos * first, cos * up - sin * down), (sin * first, sin * up + cos * down)
    x, y = (width - 1) / 2, (height - 1) / 2
    move_x, move_y = shift_x * width, shift_y * height
    offset_x = x + cos * move_x - sin * move_y - a * x - b * y
    offset_y = y + sin * move_x + cos * move_y - c * x - d * y
    matrix = np.array([[a, b, offset_x], [c, d, offset_y]])
    return Affine(rotation_degrees, shift_x, shift_y, shear_degrees, zoom_x, zoom_y, bool(flip), matrix)


def warp_image(image: np.ndarray, matrix: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Warp (h, w, 3) uint8 pixels bilinearly; `matrix` (2, 3) leads from the output to the input."""
    # OpenCV 5 takes a sixth less time with a fourth channel, the conversions included, to the same bits.
    warped = cv2.warpAffine(
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA),
        matrix,
        image.shape[1::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)


def describe_affine(affine: Affine) -> list[str]:
    """Describe in short lines what happens to the content, in order.

    The mirror, last in `make_affine`, comes first here and changes the sign of what follows it.
    Turns are positive counter-clockwise, shifts to the right and down.
    """
    mirror = -1 if affine.flip else 1
    lines = ["mirrored"] if affine.flip else []
    if affine.rotation_degrees:
        lines.append(f"turned {round(mirror * affine.rotation_degrees):+d}°")
    if affine.shift_x or affine.shift_y:
        lines.append(f"shifted {_percent(-mirror * affine.shift_x)}, {_percent(-affine.shift_y)}")
    if affine.shear_degrees:
        lines.append(f"sheared {round(mirror * affine.shear_degrees):+d}°")
    if affine.zoom_x != 1 or affine.zoom_y != 1:
        lines.append(f"scaled ×{1 / affine.zoom_x:.2f}, ×{1 / affine.zoom_y:.2f}")
    return [line.replace("-", "−") for line in lines]


def _percent(fraction: float) -> str:
    return f"{round(100 * fraction):+d}%"
