"""Logits of a saved model on examples."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from cvd.data.examples import Examples
from cvd.data.pipeline import make_evaluation_dataset, reveal_input_errors

BATCH_SIZE = 50  # no result that people see depends on it, but the last bits of a logit do: so it is fixed


def predict_logits(
    model: keras.Model,
    examples: Examples,
    *,
    batch_size: int = BATCH_SIZE,
    advance: Callable[[int], object] | None = None,
) -> np.ndarray:
    """The model's logits of all examples, in their order, as in use: no dropout, no augmentation.

    Args:
        model: maps what the examples hold, pixels (b, h, w, 3) or features (b, k), to logits (b, 1).
        examples: n examples.
        batch_size: examples at once.
        advance: told after each batch how many examples it held, for a progress bar.

    Returns:
        (n,) float32; positive means dog.

    Raises:
        InputError: an image cannot be read.
        ValueError: the examples have another shape than the model takes.
    """
    expected = tuple(model.input_shape[1:])
    if expected != tuple(examples.shape):
        raise ValueError(f"the model takes {expected}, but the examples are {tuple(examples.shape)}")

    @tf.function(reduce_retracing=True, jit_compile=False)  # XLA is slower than oneDNN on processors
    def predict(batch: tf.Tensor) -> tf.Tensor:
        return model(batch, training=False)

    dataset = make_evaluation_dataset(examples, batch_size=batch_size)
    parts = []
    with reveal_input_errors():
        for batch, _ in dataset:
            parts.append(predict(batch).numpy().reshape(-1))
            if advance:
                advance(len(parts[-1]))
    return np.concatenate(parts).astype(np.float32)
