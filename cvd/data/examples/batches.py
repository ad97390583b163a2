"""Which examples are in a batch, and what a training does to them. No TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cvd.data.examples.reading import Examples

DOMAIN = 1  # keeps these numbers apart from those of the augmentation (cvd.data.augmentation.draws)


@dataclass(frozen=True)
class Augment:
    """What is done to the batches of a training."""

    change: Callable[[np.ndarray, int, np.ndarray], np.ndarray]
    """(images (b, h, w, 3) uint8, epoch, indices (b,)) -> images of the same shape, each changed by itself."""

    mix: Callable[[np.ndarray, np.ndarray, int, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    """(images, labels (b, 1) float32, epoch, indices) -> both, each example mixed with the next, the last with the
    first; None: nothing is mixed."""


def order_examples(n: int, *, seed: int, epoch: int) -> np.ndarray:
    """Draw the order of n examples in an epoch: a permutation of 0..n-1, (n,) int64."""
    return np.random.default_rng((DOMAIN, seed, epoch)).permutation(n)


def find_next(order: np.ndarray, index: int, *, batch_size: int) -> int:
    """Find the example that stands after another one in its batch, after the last one the first."""
    position = int(np.flatnonzero(order == index)[0])
    batch = order[position // batch_size * batch_size :][:batch_size]
    return int(batch[(position % batch_size + 1) % len(batch)])


def make_batch(
    examples: Examples, indices: np.ndarray, *, epoch: int = 0, augment: Augment | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fetch a batch, (b, *shape), and its labels, (b, 1) float32, augmented."""
    images, labels = examples.fetch(indices), examples.labels[indices].astype(np.float32)[:, np.newaxis]
    if augment:
        images = augment.change(images, epoch, indices)
        if augment.mix:
            return augment.mix(images, labels, epoch, indices)
    return images, labels
