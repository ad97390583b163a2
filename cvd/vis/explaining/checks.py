"""Checks of heat maps: does heat lie where it should, and does it show what the network has learnt?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import keras
import numpy as np
from scipy.stats import rankdata

from cvd.vis.explaining.geometry import upsample_map

# Of the longer side: the 15 px of Zhang et al., Top-Down Neural Attention by Excitation Backprop (IJCV 2018), on photos
# of 500 px.
TOLERANCE = 0.03
N_STEPS = 10  # parts into which an image's pixels are dealt
BLUR = 0.07  # standard deviation of the blur that insertion begins with, as a share of the side
GREY = 128.0  # what deleted pixels become
N_COPIES = 6  # of a network, from its last layer shuffled to all


def measure_share(heat: np.ndarray, mask: np.ndarray) -> float:
    """Measure the share of a map's heat inside a mask ("energy-based pointing game", Wang et al. 2020, section 4.3).

    The map (h', w'), >= 0, is laid on the whole of the mask (h, w), bool. 0 to 1; 0 for an empty map.
    """
    large = upsample_map(heat, *mask.shape).astype(np.float64)
    total = large.sum()
    return float(large[mask].sum() / total) if total > 0 else 0.0


def is_hit(heat: np.ndarray, mask: np.ndarray, *, tolerance: float = TOLERANCE) -> bool:
    """Play the pointing game (Zhang et al. 2018): is the middle of the hottest spot inside a mask or close enough?

    The map (h', w'), >= 0, is laid on the whole of the mask (h, w), bool; an empty one points nowhere. `tolerance` is a
    share of the longer side.
    """
    if not np.any(heat > 0) or not mask.any():
        return False
    cell = [float(places.mean()) for places in np.nonzero(heat == heat.max())]
    row, column = (
        min(int((place + 0.5) * side / n), side - 1)
        for place, side, n in zip(cell, mask.shape, heat.shape, strict=True)
    )
    distances = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return bool(distances[row, column] <= tolerance * max(mask.shape))


def order_pixels(heat: np.ndarray, height: int, width: int, *, rng: np.random.Generator) -> np.ndarray:
    """Order the pixels of an image, hottest first, equal ones at random: (height * width,) int64, flat indices."""
    flat = upsample_map(heat, height, width).ravel()
    return np.lexsort((rng.random(flat.size), -flat))


def delete_pixels(image: np.ndarray, order: np.ndarray, *, n_steps: int = N_STEPS) -> np.ndarray:
    """Turn more and more pixels of an image (h, w, 3) grey, from none to all: (n_steps + 1, h, w, 3)."""
    return _mix(np.asarray(image, np.float32), np.full(image.shape, GREY, np.float32), order, n_steps)


def insert_pixels(image: np.ndarray, order: np.ndarray, *, n_steps: int = N_STEPS) -> np.ndarray:
    """Put more and more pixels of an image (h, w, 3) into a blurred one, from none to all: (n_steps + 1, h, w, 3)."""
    image = np.asarray(image, np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), BLUR * max(image.shape[:2]))
    return _mix(blurred, image, order, n_steps)


def _mix(before: np.ndarray, after: np.ndarray, order: np.ndarray, n_steps: int) -> np.ndarray:
    # The place of each pixel in the order, (h * w,), and how many pixels each step takes, (n_steps + 1,).
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    ends = np.linspace(0, order.size, n_steps + 1).round().astype(np.int64)
    is_done = rank.reshape(1, *before.shape[:2]) < ends[:, None, None]
    return np.where(is_done[..., None], after, before)


def measure_area(curve: np.ndarray) -> float:
    """Integrate a curve of values at even steps from 0 to 1, by trapezia."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def measure_faithfulness(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, maps: np.ndarray, *, signs: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the areas under the deletion and insertion curves (Petsiuk et al., RISE, 2018, section 3.2).

    Deletion greys an image's pixels, hottest first, and watches the probability of the class that the map explains;
    insertion puts them back into a blurred image. A good map has a small first and a large second area. Both depend on
    the network: compare with a random order.

    Args:
        predict: images (m, h, w, 3) -> probability of the class of sign +1, (m,).
        images: (n, h, w, 3), pixels 0..255.
        maps: (n, h', w'), >= 0.
        signs: (n,), which class each map explains: +1, or -1 for the other one, of probability 1 - p.
        seed: of the order of equally hot pixels.

    Returns:
        Deletion and insertion, (n,) each.
    """
    areas = np.empty((2, len(images)))
    for index, (image, heat, sign) in enumerate(zip(images, maps, signs, strict=True)):
        order = order_pixels(heat, *image.shape[:2], rng=np.random.default_rng([seed, index]))
        curve = predict(np.concatenate([delete_pixels(image, order), insert_pixels(image, order)])).astype(np.float64)
        curve = curve if sign > 0 else 1 - curve
        areas[:, index] = [measure_area(curve[: N_STEPS + 1]), measure_area(curve[N_STEPS + 1 :])]
    return areas[0], areas[1]


def randomise_from_top(model: keras.Model, *, seed: int, n_copies: int = N_COPIES) -> Iterator[tuple[str, keras.Model]]:
    """Shuffle the weights of more and more layers of a copy, from the output down to the input.

    Cascading randomisation (Adebayo et al., Sanity Checks for Saliency Maps, 2018, section 4). Values are permuted
    within each weight array, so that their distribution stays and maps neither fade nor explode. With fewer copies than
    layers, layers are taken in groups, the topmost first and by itself.

    Yields:
        The lowest layer that has been shuffled, and the model, the same object each time.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    layers = [layer for layer in reversed(copy.layers) if layer.get_weights()]
    stops = {round(stop) for stop in np.linspace(0, len(layers) - 1, min(n_copies, len(layers)))}
    rng = np.random.default_rng(seed)
    for number, layer in enumerate(layers):
        layer.set_weights([rng.permutation(weight.ravel()).reshape(weight.shape) for weight in layer.get_weights()])
        if number in stops:
            yield layer.name, copy


def correlate_maps(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute Spearman's rank correlation of each map (n, h, w) with its other: (n,), -1 to 1.

    A map of one value has no ranks: beside another such one it counts as 1, else as 0.
    """
    correlations = []
    for first, second in zip(maps.reshape(len(maps), -1), others.reshape(len(others), -1), strict=True):
        is_flat = [bool(np.ptp(values) == 0) for values in (first, second)]
        ranked = all(is_flat) if any(is_flat) else np.corrcoef(rankdata(first), rankdata(second))[0, 1]
        correlations.append(float(ranked))
    return np.array(correlations)
