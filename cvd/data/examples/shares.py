"""The part of a split that one worker reads: its own examples of every batch of the common order. No TensorFlow."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import numpy as np

from cvd.data.examples.reading import RUN, Examples
from cvd.data.images.pixels import limit_opencv_threads
from cvd.runtime.errors import InputError
from cvd.runtime.threads import count_cores, give_way

READY = 8  # batches that wait for the training step

Order = Callable[[int], np.ndarray]
"""epoch -> the order of all examples in it, (n,) int64."""


@dataclass(frozen=True)
class PartOfBatch:
    """What one worker adds to a batch: b examples, at least `at_least` asked for.

    Attributes:
        images: (b, *shape).
        labels: (b, 1) float32.
        weights: (b,) float32: 1, but 0 for an example that only fills up and must not count.
        n_whole: examples of the whole batch, those of all workers.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    n_whole: int


def split_range(n: int, *, worker: int, n_workers: int) -> range:
    """The examples that belong to one of several workers: a run of consecutive ones, and so of whole shards but for
    the first and the last.

    Raises:
        InputError: there are fewer examples than workers.
    """
    if n < n_workers:
        raise InputError(f"{n} images cannot be shared among {n_workers} workers: take fewer workers")
    return range(worker * n // n_workers, (worker + 1) * n // n_workers)


def hold_part(examples: Examples, part: range, *, memory_bytes: int) -> Examples:
    """The same examples, of which those of the part are read once and kept, where they fit into `memory_bytes`."""
    if len(part) * int(np.prod(examples.shape)) * examples.dtype.itemsize > memory_bytes:
        return examples
    kept = np.empty((len(part), *examples.shape), examples.dtype)

    def fill(start: int) -> None:
        stop = min(start + RUN, len(part))
        kept[start:stop] = examples.fetch(np.arange(part.start + start, part.start + stop))

    with ThreadPoolExecutor(count_cores()) as pool:
        list(pool.map(fill, range(0, len(part), RUN)))

    def fetch(indices: np.ndarray) -> np.ndarray:
        is_kept = part.start <= min(indices) and max(indices) < part.stop
        return kept[indices - part.start] if is_kept else examples.fetch(indices)

    return replace(examples, fetch=fetch)


def stream_parts(
    examples: Examples,
    part: range,
    *,
    order: Order,
    epochs: range,
    batch_size: int,
    at_least: int = 1,
    augment: Callable[[np.ndarray, int, np.ndarray], np.ndarray] | None = None,
) -> Iterator[PartOfBatch]:
    """The part's share of each batch: those of the batch's examples that are in it.

    Together, the workers' shares of a step are the batch that one worker alone would see.

    Args:
        examples: n examples; only those of the part are fetched.
        part: of 0..n-1, not empty.
        order: of all n.
        epochs: which to go through.
        batch_size: examples of a whole batch; an epoch has ceil(n / batch_size).
        at_least: examples in each share; what lacks is filled up with weight 0, for no network takes an empty batch.
        augment: applied to the images, with their epoch and indices.
    """
    limit_opencv_threads()
    n_batches = -(-len(examples) // batch_size)
    order = lru_cache(maxsize=4)(order)

    def make(epoch: int, batch: int) -> PartOfBatch:
        whole = order(epoch)[batch * batch_size : (batch + 1) * batch_size]
        own = whole[(whole >= part.start) & (whole < part.stop)]
        n_filling = max(at_least - len(own), 0)
        indices = np.concatenate([own, np.full(n_filling, part.start, own.dtype)])
        images = examples.fetch(indices)
        return PartOfBatch(
            augment(images, epoch, indices) if augment else images,
            examples.labels[indices].astype(np.float32)[:, np.newaxis],
            np.repeat(np.array([1, 0], np.float32), [len(own), n_filling]),
            len(whole),
        )

    steps = iter([(epoch, batch) for epoch in epochs for batch in range(n_batches)])
    with ThreadPoolExecutor(count_cores(), initializer=give_way) as pool:
        waiting: list[Future[PartOfBatch]] = []
        try:
            waiting += [pool.submit(make, *step) for step in islice(steps, READY)]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(make, *step) for step in islice(steps, 1)]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
