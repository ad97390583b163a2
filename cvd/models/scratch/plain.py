"""The plain network."""

from collections.abc import Callable
from typing import Annotated

import keras
import tensorflow as tf
from pydantic import Field

from cvd.models.networks.layers import chain_layers
from cvd.runtime.errors import InputError

WIDENING = (1, 2, 4)  # filters of the first convolutions, as multiples of the width; the later ones repeat the last
UNITS = 16  # of the dense layer, as a multiple of the width


def build_plain(
    *,
    size_px: int,
    dropout: float,
    width: Annotated[int, Field(ge=1, le=1024)],
    depth: Annotated[int, Field(ge=1, le=7)],
    dtype: str = "float32",
    for_training: bool = False,
) -> keras.Model:
    """Build the textbook's network (Chollet, Deep Learning with Python, 2017, listing 5.5), rescaling inside.

    The initial weights depend on the random seed only, not on `dropout` or `dtype`, so that variants start alike.

    Args:
        size_px: side of the images, at least 46 for four convolutions.
        dropout: share of the flattened features dropped in training, 0..0.95; 0 leaves the layer out.
        width: filters of the first convolution, the textbook's 32; the next have 2, 4, 4, ... times as many.
        depth: convolutions, each followed by a pooling, the textbook's 4.
        dtype: policy of the hidden layers, "float32" or "mixed_bfloat16"; pixels and logit are float32 either way.
        for_training: rectify and pool in one layer of our own, with the same bits in less time.

    Returns:
        Maps pixels (n, size_px, size_px, 3), 0..255, float32 or uint8, to logits (n, 1), float32.

    Raises:
        InputError: `size_px` leaves nothing after the last pooling.
    """
    if size_px < (smallest := find_smallest_size(depth)):
        raise InputError(f"image.size_px is {size_px}: the plain network of depth {depth} needs at least {smallest}")
    layers: list[keras.Layer] = [keras.layers.Rescaling(1 / 255, name="rescaling", dtype="float32")]
    for number in range(1, depth + 1):
        filters = width * WIDENING[min(number, len(WIDENING)) - 1]
        conv, pool = f"conv{number}", f"pool{number}"
        if for_training:
            layers.append(keras.layers.Conv2D(filters, 3, name=conv, dtype=dtype))
            layers.append(RectifiedPooling(name=pool, dtype=dtype))
        else:
            layers.append(keras.layers.Conv2D(filters, 3, activation="relu", name=conv, dtype=dtype))
            layers.append(keras.layers.MaxPooling2D(2, name=pool, dtype=dtype))
    layers.append(keras.layers.Flatten(name="flatten", dtype=dtype))
    layers.append(keras.layers.Dense(UNITS * width, activation="relu", name="dense", dtype=dtype))
    layers.append(keras.layers.Dense(1, name="logit", dtype="float32"))
    if dropout:  # made last: its seed is drawn after those of the weights
        layers.insert(-2, keras.layers.Dropout(dropout, name="dropout", dtype=dtype))
    return chain_layers(layers, keras.Input((size_px, size_px, 3), name="pixels", dtype="float32"), "plain")


def find_smallest_size(depth: int) -> int:
    """Compute the smallest side, in pixels, of which `depth` valid 3x3 convolutions with pooling leave one position."""
    return 3 * 2**depth - 2


class RectifiedPooling(keras.layers.Layer):
    """ReLU and 2x2 max pooling: (n, h, w, k) to (n, h // 2, w // 2, k)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:  # noqa: D102 - Keras' own
        return rectify_and_pool(inputs)


@tf.custom_gradient
def rectify_and_pool(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """ReLU and 2x2 max pooling of (n, h, w, k); the gradient is rectified after pooling, a quarter of the work.

    Outputs and gradients equal those of the two operations to the bit: where the pooled value is 0, no input is
    positive and no gradient passes. TensorFlow fuses the forward ReLU into the convolution before it.
    """
    rectified = tf.nn.relu(inputs)
    pooled = tf.nn.max_pool2d(rectified, 2, 2, "VALID")

    def differentiate(upstream: tf.Tensor) -> tf.Tensor:
        passing = tf.raw_ops.ReluGrad(gradients=upstream, features=pooled)
        window = [1, 2, 2, 1]
        return tf.raw_ops.MaxPoolGrad(
            orig_input=rectified, orig_output=pooled, grad=passing, ksize=window, strides=window, padding="VALID"
        )

    return pooled, differentiate
