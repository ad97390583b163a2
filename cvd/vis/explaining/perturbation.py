"""Deletion and insertion: whether the places that a map calls important are (Petsiuk et al., RISE, 2018, section 3.2).

Deletion takes pixels out of an image, hottest first, and watches the probability of the class fall; insertion begins
with a blurred image and puts them back. A good map has a small area under the first curve and a large one under the
second. The areas depend on the network too: they are to be read beside those of a random order.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from cvd.vis.sheets.overlays import upsample_map

N_STEPS = 10  # parts into which an image's pixels are dealt
BLUR = 0.07  # standard deviation of the blur that insertion begins with, as a share of the side
GREY = 128.0  # what deleted pixels become


def order_pixels(heat: np.ndarray, height: int, width: int, *, rng: np.random.Generator) -> np.ndarray:
    """Pixels of an image, hottest first; those of the same heat, as where there is none, in random order.

    Returns:
        (height * width,), int64, indices into the flattened image.
    """
    flat = upsample_map(heat, height, width).ravel()
    return np.lexsort((rng.random(flat.size), -flat))


def delete_pixels(image: np.ndarray, order: np.ndarray, *, n_steps: int = N_STEPS) -> np.ndarray:
    """An image (h, w, 3) whole, then with more and more of the pixels grey, at last all: (n_steps + 1, h, w, 3)."""
    return _mix(np.asarray(image, np.float32), np.full(image.shape, GREY, np.float32), order, n_steps)


def insert_pixels(image: np.ndarray, order: np.ndarray, *, n_steps: int = N_STEPS) -> np.ndarray:
    """An image (h, w, 3) blurred, then with more and more of its pixels, at last whole: (n_steps + 1, h, w, 3)."""
    image = np.asarray(image, np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), BLUR * max(image.shape[:2]))
    return _mix(blurred, image, order, n_steps)


def _mix(before: np.ndarray, after: np.ndarray, order: np.ndarray, n_steps: int) -> np.ndarray:
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    ends = np.linspace(0, order.size, n_steps + 1).round().astype(np.int64)
    is_done = rank.reshape(1, *before.shape[:2]) < ends[:, None, None]
    return np.where(is_done[..., None], after, before)


def measure_area(curve: np.ndarray) -> float:
    """Area under a curve of values at even steps from 0 to 1, by trapezia."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def measure_faithfulness(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    maps: np.ndarray,
    *,
    signs: np.ndarray,
    seed: int,
    n_steps: int = N_STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Areas under the deletion and insertion curves of the probability of the class that each map explains.

    Args:
        predict: images (m, h, w, 3) -> probability of the class of sign +1, (m,).
        images: (n, h, w, 3), pixels 0..255.
        maps: (n, h', w'), >= 0.
        signs: (n,), which class each map explains: +1, or -1 for the other one, of probability 1 - p.
        seed: of the order of equally hot pixels.
        n_steps: of the curves, at least 1.

    Returns:
        Deletion and insertion, (n,) each.
    """
    areas = np.empty((2, len(images)))
    for index, (image, heat, sign) in enumerate(zip(images, maps, signs, strict=True)):
        order = order_pixels(heat, *image.shape[:2], rng=np.random.default_rng([seed, index]))
        steps = (delete_pixels(image, order, n_steps=n_steps), insert_pixels(image, order, n_steps=n_steps))
        curve = predict(np.concatenate(steps)).astype(np.float64)
        curve = curve if sign > 0 else 1 - curve
        areas[:, index] = [measure_area(curve[: n_steps + 1]), measure_area(curve[n_steps + 1 :])]
    return areas[0], areas[1]
