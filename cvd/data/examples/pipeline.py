"""Examples to tf.data batches: each is one stateless call that depends on (seed, epoch, index) alone.

So training may start at any epoch, with any number of threads, and see the same batches.
"""

import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import tensorflow as tf

from cvd.data.examples.batches import Augment, make_batch, order_examples
from cvd.data.examples.reading import Examples
from cvd.data.images.pixels import limit_opencv_threads
from cvd.runtime.errors import InputError
from cvd.runtime.threads import count_cores, give_way

READY = 8  # batches that wait for the training step


def make_training_dataset(
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
    augment: Augment | None = None,
) -> tf.data.Dataset:
    """Make batches of the epochs `first_epoch` to `epochs` (exclusive), each epoch in an order of its own.

    The order follows from `seed` (0 to 2**31 - 1) and the epoch. An epoch has ceil(n / batch_size) batches, the last
    perhaps smaller. They do not depend on `first_epoch`.

    Returns:
        Batches of (images (b, h, w, 3) uint8 or features (b, k) float32, labels (b, 1) float32), of known cardinality.
        Labels are 0 or 1, of mixed images between.
    """
    n_batches = -(-len(examples) // batch_size)

    @lru_cache(maxsize=4)
    def order(epoch: int) -> np.ndarray:
        return order_examples(len(examples), seed=seed, epoch=epoch)

    def make(step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, batch = divmod(int(step), n_batches)
        indices = order(epoch)[batch * batch_size : (batch + 1) * batch_size]
        return make_batch(examples, indices, epoch=epoch, augment=augment)

    return _make_dataset(examples, make, batch_size, first_epoch * n_batches, epochs * n_batches)


def make_evaluation_dataset(examples: Examples, *, batch_size: int) -> tf.data.Dataset:
    """Make batches like `make_training_dataset`'s, of all examples once, in their own order."""

    def make(step: int) -> tuple[np.ndarray, np.ndarray]:
        return make_batch(examples, np.arange(step * batch_size, min((step + 1) * batch_size, len(examples))))

    return _make_dataset(examples, make, batch_size, 0, -(-len(examples) // batch_size))


@contextmanager
def reveal_input_errors() -> Iterator[None]:
    """Raise again the InputError inside the error that TensorFlow makes of it."""
    try:
        yield
    except tf.errors.OpError as error:
        message = re.search(r"InputError: (.+)", error.message)
        if not message:
            raise
        raise InputError(message[1].strip()) from error


def _make_dataset(
    examples: Examples,
    make: Callable[[int], tuple[np.ndarray, np.ndarray]],
    batch_size: int,
    first: int,
    stop: int,
) -> tf.data.Dataset:
    limit_opencv_threads()
    n_threads = count_cores()
    types = (tf.as_dtype(examples.dtype), tf.float32)
    size = batch_size if len(examples) % batch_size == 0 else None
    make_weakly = weakref.ref(make)  # TensorFlow never forgets a function, and this one holds the images

    def make_politely(step: int) -> tuple[np.ndarray, np.ndarray]:
        give_way()  # else it interrupts the training step; each time, for TensorFlow's threads keep nothing of Python's
        return make_weakly()(step)  # type: ignore[misc]

    @tf.autograph.experimental.do_not_convert
    def make_tensors(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # stateful=False: under op determinism a stateful op would make the calls serial.
        images, labels = tf.numpy_function(make_politely, [step], types, stateful=False)
        return tf.ensure_shape(images, (size, *examples.shape)), tf.ensure_shape(labels, (size, 1))

    dataset = tf.data.Dataset.range(first, stop).map(make_tensors, num_parallel_calls=n_threads, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False  # of a map there is nothing to rewrite
    options.threading.private_threadpool_size = n_threads  # apart from the threads of the training step
    options.threading.max_intra_op_parallelism = 1
    dataset = dataset.prefetch(READY).with_options(options)
    dataset.make = make  # lives as long as the dataset, its iterators and what is derived from it
    return dataset
