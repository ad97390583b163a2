"""Checks of heat maps: does heat lie where it should, and does it show what the network has learnt?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import keras
import numpy as np

from cvd.runtime.threads import map_ahead
from cvd.vis.explaining.geometry import upsample_map

# Of the longer side: the 15 px of Zhang et al., Top-Down Neural Attention by Excitation Backprop (IJCV 2018), on photos
# of 500 px.
TOLERANCE = 0.03
GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo 1, lie more evenly than those of any other number
BLUR = 0.07  # standard deviation of the blur that insertion begins with, as a share of the side
GREY = 128.0  # what deleted pixels become
N_AT_ONCE = 32  # perturbed images that a network looks at together
N_RANDOMISED = 6  # networks, from the last layer shuffled to all


def measure_shares(maps: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Measure the share of each map's heat inside masks ("energy-based pointing game", Wang et al. 2020, section 4.3).

    Maps (m, h', w'), >= 0, of one image are laid on the whole of its masks (h, w), bool. (masks, m), 0 to 1; 0 for an
    empty map.
    """
    # All maps at once as channels, enlarged: (h, w, m), then a row for each pixel: (h * w, m).
    channels = np.ascontiguousarray(np.moveaxis(maps, 0, -1))
    large = upsample_map(channels, *masks[0].shape).reshape(-1, len(maps)).astype(np.float64)
    # The heat inside each mask, and in all of the image last.
    *inside, totals = np.stack([*(mask.ravel() for mask in masks), np.ones(len(large))]) @ large
    return np.divide(inside, totals, out=np.zeros((len(masks), len(maps))), where=totals > 0)


def find_spot(heat: np.ndarray) -> tuple[float, float] | None:
    """Find the middle of a map's hottest spot, as shares of its height and width; None in an empty map."""
    hottest = heat.max()
    if not hottest > 0:
        return None
    rows, columns = np.nonzero(heat == hottest)
    return float(rows.mean() + 0.5) / heat.shape[0], float(columns.mean() + 0.5) / heat.shape[1]


def is_near(spot: tuple[float, float], mask: np.ndarray, *, tolerance: float = TOLERANCE) -> bool:
    """Play the pointing game (Zhang et al. 2018): is a spot, as of `find_spot`, inside a mask or close enough?

    The mask (h, w), bool, is of the whole image; `tolerance` is a share of its longer side.
    """
    row, column = (min(int(share * side), side - 1) for share, side in zip(spot, mask.shape, strict=True))
    # Only pixels of the mask in a square around the spot can be close enough.
    reach = tolerance * max(mask.shape)
    top, left = max(row - int(reach), 0), max(column - int(reach), 0)
    rows, columns = np.nonzero(mask[top : row + int(reach) + 1, left : column + int(reach) + 1])
    return bool((np.hypot(rows + top - row, columns + left - column) <= reach).any())


def pick_hottest(heat: np.ndarray, n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Pick the `n` hottest pixels of a map (h, w), of equal ones some at random: (h, w) bool."""
    flat = heat.ravel()
    if not 0 < n < flat.size:
        return np.full(heat.shape, n > 0)
    least = np.partition(flat, -n)[-n]
    picked = flat > least
    equal = np.flatnonzero(flat == least)
    picked[rng.permutation(equal)[: n - np.count_nonzero(picked)]] = True
    return picked.reshape(heat.shape)


def blur_image(image: np.ndarray) -> np.ndarray:
    """Blur an image (h, w, 3), float32, as insertion begins with it."""
    return cv2.GaussianBlur(image, (0, 0), BLUR * max(image.shape[:2]))


def place_points(n_images: int, n_steps: int) -> np.ndarray:
    """Place the shares of pixels at which each image's curves are read: (n_images, n_steps), 0 to 1.

    One lies in each of `n_steps` equal parts. Where in its part turns by the golden ratio from image to image. So all
    images together cover 0 to 1 evenly, and the mean over points and images is that of whole curves.
    """
    turns = (0.5 + GOLDEN * np.arange(n_images)) % 1  # (n,), 0 to 1
    return (np.arange(n_steps) + turns[:, None]) / n_steps


def measure_faithfulness(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    find_heats: Callable[[int], Sequence[np.ndarray]],
    *,
    signs: np.ndarray,
    n_steps: int,
    seed: int,
) -> np.ndarray:
    """Measure the areas under the deletion and insertion curves (Petsiuk et al., RISE, 2018, section 3.2).

    Deletion greys an image's pixels, hottest first, and watches the probability of the class that the map explains;
    insertion puts them back into a blurred image. A good map has a small first and a large second area. Both depend on
    the network: compare with a random order. An area is the mean of the curve at the image's points (`place_points`):
    rough for one image, right for the mean over many.

    Args:
        predict: images (b, h, w, 3) -> probability of the class of sign +1, (b,); full batches but for the last.
        images: (n, h, w, 3), pixels 0..255.
        find_heats: an image's number -> its map (h, w) by each of m methods.
        signs: (n,), which class each map explains: +1, or -1 for the other one, of probability 1 - p.
        n_steps: points of each curve, at least 1.
        seed: of the order of equally hot pixels.

    Returns:
        (2, m, n): deletion and insertion of each method and image.
    """
    points = place_points(len(images), n_steps)

    def perturb(index: int) -> np.ndarray:
        image = np.asarray(images[index], np.float32)
        blurred, rng = blur_image(image), np.random.default_rng([seed, index])
        pictures = []
        for heat in find_heats(index):
            for share in points[index]:
                picked = pick_hottest(heat, round(share * heat.size), rng=rng)[..., None]  # (h, w, 1)
                pictures += [np.where(picked, np.float32(GREY), image), np.where(picked, image, blurred)]
        return np.stack(pictures)

    pictures = map_ahead(perturb, range(len(images)), n_ahead=2, n_threads=1)  # while a network looks
    values = _predict_stream(predict, pictures).reshape(len(images), -1, n_steps, 2)  # (n, m, steps, 2)
    return np.where(signs[:, None, None, None] > 0, values, 1 - values).mean(axis=2).transpose(2, 1, 0)


def _predict_stream(predict: Callable[[np.ndarray], np.ndarray], pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Predict pictures that come a few at a time, in batches of N_AT_ONCE: (n,) float64."""
    values: list[np.ndarray] = []
    batch: list[np.ndarray] = []
    for picture in (picture for some in pictures for picture in some):
        batch.append(picture)
        if len(batch) == N_AT_ONCE:
            values.append(predict(np.stack(batch)))
            batch = []
    if batch:
        values.append(predict(np.stack(batch)))
    return np.concatenate(values).astype(np.float64)


def randomise_from_top(model: keras.Model, *, seed: int, n_steps: int = N_RANDOMISED) -> Iterator[str]:
    """Shuffle the weights of more and more of a network's own layers, from the output down; give them back at the end.

    Cascading randomisation (Adebayo et al., Sanity Checks for Saliency Maps, 2018, section 4). Values are permuted
    within each weight array, so that their distribution stays and maps neither fade nor explode. With fewer steps than
    layers, layers are taken in groups, the topmost first and by itself. What is compiled of the network stays so.

    Yields:
        The lowest layer that has been shuffled, at each step.
    """
    learnt = model.get_weights()
    layers = [layer for layer in reversed(model.layers) if layer.get_weights()]
    stops = {round(stop) for stop in np.linspace(0, len(layers) - 1, min(n_steps, len(layers)))}
    rng = np.random.default_rng(seed)
    try:
        for number, layer in enumerate(layers):
            layer.set_weights([rng.permutation(weight.ravel()).reshape(weight.shape) for weight in layer.get_weights()])
            if number in stops:
                yield layer.name
    finally:
        model.set_weights(learnt)


def rank_values(rows: np.ndarray) -> np.ndarray:
    """Rank the values of each row (n, p) from 1, equal ones by their mean rank: (n, p) float64.

    SciPy's `rankdata` gives the same; its import takes longer than all ranks of a network's maps.
    """
    ranked = [
        np.searchsorted(ordered, row) + np.searchsorted(ordered, row, side="right") + 1
        for row, ordered in zip(rows, np.sort(rows, axis=1), strict=True)
    ]
    return np.array(ranked) / 2


def correlate_maps(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute Spearman's rank correlation of each map (n, h, w) with its other: (n,), -1 to 1.

    A map of one value has no ranks: beside another such one it counts as 1, else as 0.
    """
    # Ranks about their mean (n, h * w): Spearman's is their cosine. A flat map's are all 0.
    first, second = (rank_values(values.reshape(len(values), -1)) for values in (maps, others))
    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    both_flat = (np.ptp(first, axis=1) == 0) & (np.ptp(second, axis=1) == 0)
    products = np.einsum("np,np->n", first, second)
    return np.where(both_flat, 1.0, np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0))
