"""What trains: one device here, several in `cvd.training.distributed`; and whether a network fits into memory."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import keras
import tensorflow as tf

from cvd.data.examples.batches import Augment
from cvd.data.examples.pipeline import make_evaluation_dataset, make_training_dataset
from cvd.data.examples.reading import Examples
from cvd.data.examples.shares import hold_part, split_range
from cvd.machine import hardware
from cvd.models.networks.layers import count_parameters
from cvd.runtime.errors import InputError
from cvd.training.state import TrainingState

ADVICE = "lower train.batch_size, the network's width, image.size_px or train.memory_share"
STATES = {"rmsprop": 2, "adam": 2, "adamw": 2, "sgd": 1}  # numbers that an optimizer keeps for each that learns
FLOAT32 = 4  # bytes of a weight, also in mixed precision


@dataclass(frozen=True)
class Batches:
    """Which batches a training takes."""

    batch_size: int  # examples per step, of all workers together
    seed: int  # with the epoch it gives the order
    first_epoch: int  # from 0
    epochs: int  # where to end, exclusive
    augment: Augment | None


class OneDevice:
    """One process that trains on one device. Subclasses train with several, by the same methods."""

    n_workers = 1  # processes that train together
    worker = 0  # which of them this is; 0 is the chief

    @property
    def is_chief(self) -> bool:
        """Whether this process writes anything."""
        return self.worker == 0

    def scope(self) -> AbstractContextManager[object]:
        """Open the context in which model and optimizer must be made."""
        return nullcontext()

    def require_alike(self, text: str) -> None:
        """Raise an InputError on all workers where one has another text than the chief."""

    def find_part(self, examples: Examples) -> range:
        """Find the indices of those examples of a split that this process reads."""
        return split_range(len(examples), worker=self.worker, n_workers=self.n_workers)

    def hold(self, examples: Examples, *, memory_bytes: int) -> Examples:
        """Read this process' part of the examples once, and keep it where it fits into `memory_bytes`."""
        return hold_part(examples, self.find_part(examples), memory_bytes=memory_bytes)

    def share_state(self, state: TrainingState | None, model: keras.Model) -> TrainingState | None:
        """Give the chief's state to all workers, so that they resume together; `model` is compiled."""
        return state

    def fit(
        self,
        model: keras.Model,
        train: Examples,
        validation: Examples,
        batches: Batches,
        callback: keras.callbacks.Callback,
    ) -> None:
        """Train a compiled model, made in `scope`, until the last epoch or until its `stop_training` is set.

        `callback` is told of epochs and batches, on every worker.

        Raises:
            WorkerLostError: another worker is gone.
        """
        if not model.trainable_weights:
            measure_start(model, train, validation, batches, callback)
            return
        model.fit(
            make_training_dataset(train, **vars(batches)),
            initial_epoch=batches.first_epoch,
            epochs=batches.epochs,
            steps_per_epoch=-(-len(train) // batches.batch_size),
            validation_data=make_evaluation_dataset(validation, batch_size=batches.batch_size),
            callbacks=[callback],
            shuffle=False,  # the batches are
            verbose=0,
        )


ONE_DEVICE = OneDevice()


def measure_start(
    model: keras.Model, train: Examples, validation: Examples, batches: Batches, callback: keras.callbacks.Callback
) -> None:
    """Measure a compiled model in which nothing learns on both splits, as one epoch that the callback is told of."""
    callback.set_model(model)
    callback.on_epoch_begin(0)
    sets = (make_evaluation_dataset(examples, batch_size=batches.batch_size) for examples in (train, validation))
    logs = model.evaluate(next(sets), return_dict=True, verbose=0)
    callback.on_test_begin()
    val_logs = model.evaluate(next(sets), return_dict=True, verbose=0)
    callback.on_epoch_end(0, {**logs, **{f"val_{name}": value for name, value in val_logs.items()}})


class MemoryShortError(InputError, MemoryError):
    """Memory runs out. As a MemoryError it leaves the state of the training, to resume from."""


def require_memory(build: Callable[[], keras.Model], batch_size: int, optimizer: str) -> None:
    """Refuse, without GPUs, a network that cannot fit into free memory: the system would kill the process silently.

    Raises:
        MemoryShortError: it needs more, with `optimizer` and `batch_size` images per step of this process.
    """
    if hardware.list_gpus():
        return
    with tf.Graph().as_default():  # where weights take no memory
        model = build()
        needed = estimate_bytes(model, batch_size=batch_size, optimizer=optimizer)
    spare = hardware.read_memory_bytes()
    if needed > spare:
        raise MemoryShortError(
            f"not enough memory: a network of {count_parameters(model.weights):,} parameters with {batch_size} images "
            f"at a time needs at least {needed / 1e9:,.1f} GB, and {spare / 1e9:,.1f} GB are free: {ADVICE}"
        )


def estimate_bytes(model: keras.Model, *, batch_size: int, optimizer: str) -> int:
    """Lower bound of the memory that a training takes at one time, in bytes; the plain network takes twice as much.

    Weights and optimizer states stay. A step adds the outputs of each layer with weights, which gradients need; the end
    of an epoch adds copies of weights and states for the disk.
    """
    weights, learning = count_parameters(model.weights), count_parameters(model.trainable_weights)
    step = sum(
        batch_size * math.prod(layer.output.shape[1:]) * tf.as_dtype(layer.compute_dtype).size
        for layer in model.layers
        if layer.trainable_weights and len(layer.output.shape) == 4
    )
    return FLOAT32 * (weights + STATES[optimizer] * learning) + max(step, FLOAT32 * (weights + learning))
