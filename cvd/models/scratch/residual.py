"""The residual network: the best one from scratch that was found for a few thousand photos."""

from functools import partial
from typing import Annotated

import keras
import tensorflow as tf
from pydantic import Field

STAGES = 5
SMALLEST_PX = 2**STAGES  # the last stage then has one position to look at
STEM = 5  # side of the first kernel


def build_residual(
    *,
    size_px: int,
    width: Annotated[int, Field(ge=1, le=512)],
    depth: Annotated[int, Field(ge=1, le=16)],
    dropout: float,
    dtype: str = "float32",
    for_training: bool = False,
) -> keras.Model:
    """Build a small Xception (Chollet 2017; Deep Learning with Python, 2nd ed., section 9.3.5), rescaling inside.

    Five stages of residual blocks, each of two separable convolutions behind BatchNorm and ReLU; the first block of a
    stage halves the side and doubles the filters. Global average pooling. It departs from the book's in three things,
    for time and accuracy: a stem of stride 2, shortcuts that average before they convolve (He et al. 2019, ResNet-D),
    and a last BatchNorm and ReLU, which end a row of residual sums (He et al. 2016).

    The initial weights depend on the random seed only, not on `dropout` or `dtype`.

    Args:
        size_px: side of the images, at least 32.
        width: filters of the stem and the first stage, at least 1; each of the next four stages has twice as many.
        depth: blocks of a stage, at least 1.
        dropout: share of the pooled features dropped in training, 0..0.95; 0 leaves the layer out.
        dtype: policy of the hidden layers, "float32" or "mixed_bfloat16"; pixels and logit are float32 either way.
        for_training: normalise with `FusedNormalization`, in less time; the weights are in the same order.

    Returns:
        Maps pixels (n, size_px, size_px, 3), 0..255, float32 or uint8, to logits (n, 1), float32.

    Raises:
        ValueError: `size_px` is too small.
    """
    if size_px < SMALLEST_PX:
        raise ValueError(f"size_px is {size_px}: the residual network needs at least {SMALLEST_PX}")
    add_block = partial(_add_block, dtype=dtype, for_training=for_training)
    pixels = keras.Input((size_px, size_px, 3), name="pixels", dtype="float32")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling", dtype="float32")(pixels)
    x = _convolve(x, width, STEM, 2, name="stem", dtype=dtype)
    for stage in range(STAGES):
        for block in range(depth):
            name = f"stage{stage + 1}_block{block + 1}"
            x = add_block(x, width * 2**stage, name=name, halves=block == 0)
    x = _rectify(x, "top", dtype=dtype, for_training=for_training)
    x = keras.layers.GlobalAveragePooling2D(name="pooled", dtype=dtype)(x)
    logit = keras.layers.Dense(1, name="logit", dtype="float32")
    logit.build(x.shape)  # before the dropout, whose seed is drawn after those of the weights
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    return keras.Model(pixels, logit(x), name="residual")


class FusedNormalization(keras.layers.BatchNormalization):
    """Keras' BatchNorm over channels as one operation instead of about ten, also on values in half precision.

    Statistics, scale and offset stay in float32. Outputs and moving statistics are the same to rounding.
    """

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings, dtype="float32", autocast=False)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:  # noqa: D102 - Keras' own
        by_batch = bool(training) and self.trainable
        unused = tf.zeros(0)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=unused if by_batch else self.moving_mean.value,
            variance=unused if by_batch else self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=by_batch,
        )
        if by_batch:
            n = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
            variance *= (n - 1) / n  # the operation divides by n - 1, Keras by n
            rest = 1 - self.momentum
            self.moving_mean.assign(self.moving_mean * self.momentum + mean * rest)
            self.moving_variance.assign(self.moving_variance * self.momentum + variance * rest)
        return outputs


def _add_block(
    x: keras.KerasTensor, filters: int, *, name: str, halves: bool, dtype: str, for_training: bool
) -> keras.KerasTensor:
    """Two separable convolutions, each behind BatchNorm and ReLU, and a shortcut past them; (n, h, w, k) both ways."""
    shortcut = x
    if halves:
        shortcut = keras.layers.AveragePooling2D(2, padding="same", name=f"{name}_shortcut_pool", dtype=dtype)(x)
        shortcut = _convolve(shortcut, filters, 1, 1, name=f"{name}_shortcut", dtype=dtype)
    for number in (1, 2):
        x = _rectify(x, f"{name}_{number}", dtype=dtype, for_training=for_training)
        x = keras.layers.SeparableConv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            depthwise_initializer="he_normal",
            pointwise_initializer="he_normal",
            name=f"{name}_conv{number}",
            dtype=dtype,
        )(x)
    if halves:
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name=f"{name}_pool", dtype=dtype)(x)
    return keras.layers.Add(name=f"{name}_add", dtype=dtype)([x, shortcut])


def _convolve(
    x: keras.KerasTensor, filters: int, size: int, strides: int, *, name: str, dtype: str
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=name, dtype=dtype
    )(x)


def _rectify(x: keras.KerasTensor, name: str, *, dtype: str, for_training: bool) -> keras.KerasTensor:
    """BatchNorm and ReLU."""
    # Statistics of the last ten batches (momentum 0.9) move the validation accuracy by a percent from epoch to epoch.
    settings = {"momentum": 0.99, "name": f"{name}_norm"}
    normalise = (
        FusedNormalization(**settings) if for_training else keras.layers.BatchNormalization(**settings, dtype=dtype)
    )
    return keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(normalise(x))
