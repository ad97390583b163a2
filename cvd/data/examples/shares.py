"""One worker's part of a split: its examples of every batch of the common order. No TensorFlow."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from cvd.data.examples.batches import Augment, make_batch
from cvd.data.examples.reading import Examples
from cvd.data.images.pixels import limit_opencv_threads
from cvd.runtime.errors import InputError
from cvd.runtime.threads import count_cores, give_way, map_ahead

READY = 8  # batches that wait for the training step
RUN = 16  # images that a thread loads into memory at once

Order = Callable[[int], np.ndarray]
"""epoch -> the order of all examples in it, (n,) int64."""


@dataclass(frozen=True)
class PartOfBatch:
    """What one worker adds to a batch: b examples, at least `at_least` asked for."""

    images: np.ndarray  # (b, *shape)
    labels: np.ndarray  # (b, 1) float32
    weights: np.ndarray  # (b,) float32: 1, but 0 for an example that only fills up
    n_whole: int  # examples of the whole batch, over all workers


def split_range(n: int, *, worker: int, n_workers: int) -> range:
    """Choose the consecutive examples of one worker, so that it opens few shards.

    Raises:
        InputError: there are fewer examples than workers.
    """
    if n < n_workers:
        raise InputError(f"{n} images cannot be shared among {n_workers} workers: take fewer workers")
    return range(worker * n // n_workers, (worker + 1) * n // n_workers)


def hold_part(examples: Examples, part: range, *, memory_bytes: int) -> Examples:
    """Read the part's examples once and keep them in memory, where they fit into `memory_bytes`."""
    if len(part) * int(np.prod(examples.shape)) * examples.dtype.itemsize > memory_bytes:
        return examples
    limit_opencv_threads()
    held = np.empty((len(part), *examples.shape), examples.dtype)  # (n, h, w, 3) or (n, k)

    def fill(start: int) -> None:
        stop = min(start + RUN, len(part))
        held[start:stop] = examples.fetch(np.arange(part.start + start, part.start + stop))

    for _ in map_ahead(fill, range(0, len(part), RUN), n_ahead=2 * count_cores()):
        pass

    def fetch(indices: np.ndarray) -> np.ndarray:
        copies = np.empty((len(indices), *examples.shape), examples.dtype)
        is_held = (indices >= part.start) & (indices < part.stop)
        for position in np.flatnonzero(is_held):
            copies[position] = held[indices[position] - part.start]  # eight times as fast as held[indices]
        if not is_held.all():
            copies[~is_held] = examples.fetch(indices[~is_held])
        return copies

    return replace(examples, fetch=fetch)


def stream_parts(
    examples: Examples,
    part: range,
    *,
    order: Order,
    epochs: range,
    batch_size: int,
    at_least: int = 1,
    augment: Augment | None = None,
) -> Iterator[PartOfBatch]:
    """Yield the part's share of each batch: those of the batch's examples that are in it.

    Together, the workers' shares of a step are the batch of one device. Where images are mixed, a worker also reads the
    partners of its own, which stand after them in the batch and may be in other parts.

    Args:
        examples: n examples; only those of the part, and partners, are fetched.
        part: of 0..n-1, not empty.
        order: of all n.
        epochs: which to go through.
        batch_size: examples of a whole batch; an epoch has ceil(n / batch_size).
        at_least: examples in each share, since no network takes an empty batch; added ones have weight 0.
        augment: applied to the batches.
    """
    limit_opencv_threads()
    n_batches = -(-len(examples) // batch_size)
    order = lru_cache(maxsize=4)(order)

    def make(step: tuple[int, int]) -> PartOfBatch:
        epoch, batch = step
        whole = order(epoch)[batch * batch_size : (batch + 1) * batch_size]
        own = np.flatnonzero((whole >= part.start) & (whole < part.stop))  # positions in the batch
        n_filling = max(at_least - len(own), 0)
        shares = []
        if len(own):
            # Sorted, an own example is followed by its partner as in the whole batch, the last one by the first.
            needed = np.union1d(own, (own + 1) % len(whole)) if augment and augment.mix else own
            batch_of_needed = make_batch(examples, whole[needed], epoch=epoch, augment=augment)
            shares.append([column[np.isin(needed, own)] for column in batch_of_needed])
        if n_filling:
            shares.append(list(make_batch(examples, np.full(n_filling, part.start), epoch=epoch, augment=augment)))
        images, labels = (np.concatenate(columns) for columns in zip(*shares, strict=True))
        weights = np.repeat(np.array([1, 0], np.float32), [len(own), n_filling])
        return PartOfBatch(images, labels, weights, len(whole))

    steps = ((epoch, batch) for epoch in epochs for batch in range(n_batches))
    return map_ahead(make, steps, n_ahead=READY, initializer=give_way)
