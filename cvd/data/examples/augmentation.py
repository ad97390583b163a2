"""Augmentation as one affine warp per image: flip, rotation, shift, shear and zoom in one matrix, one interpolation.

OpenCV's warp of uint8 pixels releases Python's lock, so that calls from several threads run in parallel.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from cvd.runtime.threads import yield_between

DOMAIN = 2  # keeps these numbers apart from those that order the images (cvd.data.examples.pipeline)
BLOCK = 1024  # neighbouring images whose numbers are drawn together


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random moves of training images."""

    seed: int  # 0 to 2**31 - 1
    rotation_degrees: float  # uniform within plus or minus this
    shift_fraction: float  # of the side, in x and in y
    shear_degrees: float  # uniform within plus or minus this
    zoom_fraction: float  # scale within 1 minus and 1 plus this, in x and in y
    horizontal_flip: bool  # mirror half of the images


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


def augment_images(images: np.ndarray, augmentation: Augmentation, *, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Augment (b, h, w, 3) uint8 images, whose indices in their split are (b,); the result has the same shape.

    Each result depends on (seed, epoch, index) and its own pixels alone. Edge pixels repeat outside an image.
    """
    height, width = images.shape[1:3]
    results = np.empty_like(images)  # (b, h, w, 3)
    for image, result, index in yield_between(zip(images, results, indices, strict=True)):
        affine = sample_affine(augmentation, epoch=epoch, index=int(index), height=height, width=width)
        warp_image(image, affine.matrix, out=result)
    return results


def sample_affine(augmentation: Augmentation, *, epoch: int, index: int, height: int, width: int) -> Affine:
    """Sample one image's warp. Changing one range changes that one value only."""
    numbers = _draw_numbers(augmentation.seed, epoch, index // BLOCK)[index % BLOCK]  # (7,), uniform in 0..1
    rotation, shift_x, shift_y, shear, zoom_x, zoom_y, flip = numbers.tolist()
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
    return [line.replace("-", "−") for line in lines] or ["unchanged"]


def _percent(fraction: float) -> str:
    return f"{round(100 * fraction):+d}%"


@lru_cache(maxsize=256)
def _draw_numbers(seed: int, epoch: int, block: int) -> np.ndarray:
    """Draw a block's uniform numbers in 0..1, (BLOCK, 7): a generator per image costs 17 us."""
    return np.random.default_rng((DOMAIN, seed, epoch, block)).random((BLOCK, 7))
