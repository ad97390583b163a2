"""Activations of one filter for each picture, without computing the other filters of its layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cvd.vis.filters.pixels import ease_gradient

# (pictures (b, s, s, 3), filters (b,)) -> what enters the filters' rectifier, and what leaves it, (b, h', w') each
Respond = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class Convolution(NamedTuple):
    """A convolution that ends a model, its normalisation folded into it."""

    features: Any  # the tensor that it reads, (n, h, w, c)
    kernel: np.ndarray  # (k, taps, c), float32
    bias: np.ndarray  # (k,), float32
    size: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: str


def make_responder(cut: keras.Model) -> Respond:
    """Make a function that gives the activations of one filter for each picture, of a model as of `cut_filters`.

    Where the model ends in a convolution, and perhaps its normalisation, it computes only that filter: for 64 filters
    a 64th of the layer's work. Elsewhere it computes the whole layer and picks one filter.
    """
    convolution = find_convolution(cut)
    if convolution is None:
        return partial(_pick_filters, cut)
    before, after = cut.outputs
    trunk = ease_gradient(keras.Model(cut.inputs[0], convolution.features))
    return partial(_compute_filters, trunk, convolution, None if after is before else after._keras_history.operation)


def _pick_filters(cut: keras.Model, pictures: tf.Tensor, filters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    outputs = (tf.cast(output, tf.float32) for output in cut(pictures, training=False))
    # (b, h', w', k) -> (b, k, h', w') -> (b, h', w')
    bare, activation = (tf.gather(tf.transpose(output, (0, 3, 1, 2)), filters, batch_dims=1) for output in outputs)
    return bare, activation


def _compute_filters(
    trunk: keras.Model, convolution: Convolution, rectifier: Any, pictures: tf.Tensor, filters: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    features = tf.cast(trunk(pictures, training=False), tf.float32)  # (b, h, w, c)
    bare = convolve(features, convolution, filters)  # (b, h', w')
    return bare, bare if rectifier is None else rectifier(bare)


def find_convolution(cut: keras.Model) -> Convolution | None:
    """Find the convolution that gives a model's first output, a normalisation folded in; None where there is none."""
    operation = cut.outputs[0]._keras_history.operation
    scale, shift = np.ones(1, np.float32), np.zeros(1, np.float32)
    if type(operation).__name__ == "BatchNormalization":
        scale, shift = _read_normalisation(operation)
        operation = operation.input._keras_history.operation
    if type(operation).__name__ != "Conv2D" or operation.groups != 1 or operation.padding not in ("valid", "same"):
        return None
    if getattr(operation.activation, "__name__", "") != "linear":
        return None
    kernel = np.asarray(operation.kernel, np.float32)  # (rows, columns, c, k)
    bias = np.asarray(operation.bias, np.float32) if operation.use_bias else np.zeros(kernel.shape[-1], np.float32)
    taps = np.moveaxis(kernel * scale, 3, 0).reshape(kernel.shape[3], -1, kernel.shape[2])
    geometry = (operation.kernel_size, operation.strides, operation.dilation_rate, operation.padding)
    return Convolution(operation.input, taps, bias * scale + shift, *geometry)


def _read_normalisation(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read what a normalisation multiplies by and adds in inference, (k,) each."""
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    scale = (np.asarray(layer.gamma) if layer.scale else 1) / np.sqrt(variance + layer.epsilon)
    return scale, (np.asarray(layer.beta) if layer.center else 0) - mean * scale


def convolve(features: tf.Tensor, convolution: Convolution, filters: tf.Tensor) -> tf.Tensor:
    """Apply one filter of a convolution to each of (b, h, w, c) features: (b, h', w').

    A product of matrices gives what each tap of the kernel adds, everywhere; the taps are shifted and summed. Each tap
    is a plane of its own, since the gradient of a slice fills all that it was cut from; strides are taken last.
    """
    if convolution.padding == "same":
        features = tf.pad(features, [[0, 0], *(_pad(convolution, features, axis) for axis in (0, 1)), [0, 0]])
    n = tf.shape(features)[0]
    height, width, n_channels = (int(side) for side in features.shape[1:])
    # (b, taps, c) @ (b, c, h * w) -> (b, taps, h * w), then a plane (b, h, w) for each tap
    kernels = tf.gather(convolution.kernel, filters)
    taps = tf.matmul(kernels, tf.reshape(features, (n, height * width, n_channels)), transpose_b=True)
    planes = tf.unstack(tf.reshape(taps, (n, kernels.shape[1], height, width)), axis=1)
    # Shift each plane by its tap's place in the kernel, and sum: (b, h - reach, w - reach)
    reach = [(size - 1) * wide for size, wide in zip(convolution.size, convolution.dilation, strict=True)]
    total = tf.gather(convolution.bias, filters)[:, None, None]
    for plane, (row, column) in zip(planes, np.ndindex(convolution.size), strict=True):
        top, left = row * convolution.dilation[0], column * convolution.dilation[1]
        total = total + plane[:, top : top + height - reach[0], left : left + width - reach[1]]
    return total[:, :: convolution.strides[0], :: convolution.strides[1]]


def _pad(convolution: Convolution, features: tf.Tensor, axis: int) -> list[int]:
    """TensorFlow's padding for `same`: the odd pixel goes behind."""
    n, stride = features.shape[axis + 1], convolution.strides[axis]
    reach = (convolution.size[axis] - 1) * convolution.dilation[axis]
    total = max((-(-n // stride) - 1) * stride + reach + 1 - n, 0)
    return [total // 2, total - total // 2]
