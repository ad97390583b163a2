"""Whether a network fits into memory, said beforehand: the system would kill the process without a word."""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from cvd.machine import hardware
from cvd.models.networks.layers import count_parameters
from cvd.runtime.errors import InputError
from cvd.training.distributed.strategy import Distribution

ADVICE = "lower train.batch_size, the network's width, image.size_px or train.memory_share"
STATES = {"rmsprop": 2, "adam": 2, "adamw": 2, "sgd": 1}  # numbers that an optimizer keeps for each that learns
FLOAT32 = 4  # bytes of a weight, also in mixed precision


class MemoryShortError(InputError, MemoryError):
    """Memory runs out. As a MemoryError it leaves the state of the training, for another time may have more."""


def require_memory(
    build: Callable[[], keras.Model], batch_size: int, optimizer: str, distribution: Distribution | None = None
) -> None:
    """Refuses a network that surely cannot be trained in the memory to spare; does nothing where GPUs train.

    Args:
        build: makes the network; called in a graph, where its weights take no memory.
        batch_size: images per step, of all processes together.
        optimizer: one of STATES.
        distribution: the processes that train together; None: one.

    Raises:
        MemoryShortError: it needs more.
    """
    if hardware.list_gpus():
        return
    if distribution:
        batch_size = -(-batch_size // distribution.n_workers)
    with tf.Graph().as_default():
        model = build()
        needed = estimate_bytes(model, batch_size=batch_size, optimizer=optimizer)
    spare = hardware.read_memory_bytes()
    if needed > spare:
        raise MemoryShortError(
            f"not enough memory: a network of {count_parameters(model.weights):,} parameters with {batch_size} images "
            f"at a time needs at least {needed / 1e9:,.1f} GB, and {spare / 1e9:,.1f} GB are free: {ADVICE}"
        )


def estimate_bytes(model: keras.Model, *, batch_size: int, optimizer: str) -> int:
    """What a training surely takes at one time, in bytes; in truth it is more, twice as much of a plain network.

    The weights and the optimizer's states always; besides, in a step what each layer with weights gives for the batch,
    which the gradients need, and after an epoch copies of weights and states for the disk.

    Args:
        model: to be trained.
        batch_size: images per step.
        optimizer: one of STATES.
    """
    weights, learning = count_parameters(model.weights), count_parameters(model.trainable_weights)
    step = sum(
        batch_size * math.prod(layer.output.shape[1:]) * tf.as_dtype(layer.compute_dtype).size
        for layer in model.layers
        if layer.trainable_weights and len(layer.output.shape) == 4
    )
    return FLOAT32 * (weights + STATES[optimizer] * learning) + max(step, FLOAT32 * (weights + learning))
