"""Logits of a saved model, as in use: no dropout, no augmentation."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

BATCH_SIZE = 50  # no result that people see depends on it, but the last bits of a logit do: so it is fixed


def predict_logits(
    model: keras.Model, batches: tf.data.Dataset, *, advance: Callable[[int], object] | None = None
) -> np.ndarray:
    """Predict the logits of batches of examples, in their order.

    Args:
        model: maps pixels (b, h, w, 3) or features (b, k) to logits (b, 1).
        batches: of such inputs and labels.
        advance: told after each batch how many examples it held, for a progress bar.

    Returns:
        (n,) float32; positive means dog.

    Raises:
        ValueError: the examples have another shape than the model takes.
    """
    expected, given = tuple(model.input_shape[1:]), tuple(batches.element_spec[0].shape[1:])
    if expected != given:
        raise ValueError(f"the model takes {expected}, but the examples are {given}")

    @tf.function(reduce_retracing=True, jit_compile=False)  # XLA is slower than oneDNN on processors
    def predict(batch: tf.Tensor) -> tf.Tensor:
        return model(batch, training=False)

    parts = []
    for batch, _ in batches:
        parts.append(predict(batch).numpy().reshape(-1))  # (b, 1) to (b,)
        if advance:
            advance(len(parts[-1]))
    return np.concatenate(parts).astype(np.float32)


def make_predictor(model: keras.Model, *, batch_size: int = BATCH_SIZE) -> Callable[[np.ndarray], np.ndarray]:
    """Compile the way from images to logits once. An image's logit is the same, to the last bit, in any company.

    Args:
        model: maps images (n, s, s, 3), pixels 0..255, to logits (n, 1).
        batch_size: images at once. Fewer are filled up, since the last bits of a logit depend on the batch's size.

    Returns:
        A function of (n, s, s, 3) uint8, any n, to (n,) float32; positive means dog.
    """
    call = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.uint8)],
        jit_compile=False,
    )

    def predict(images: np.ndarray) -> np.ndarray:
        n_missing = -len(images) % batch_size
        filled = np.concatenate([images, np.zeros((n_missing, *images.shape[1:]), np.uint8)])
        parts = [call(tf.constant(filled[i : i + batch_size])).numpy() for i in range(0, len(filled), batch_size)]
        return np.concatenate(parts).reshape(-1)[: len(images)]

    return predict
