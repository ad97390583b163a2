"""A network's first convolution with a gradient by its input that costs a fraction: for ascents in pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

FEW_CHANNELS = 4  # of the input: vector units, which take 16 at once, idle in the usual gradient of 3 channels


class PixelConvolution(keras.layers.Conv2D):
    """A convolution of few channels, the same to the bit; its gradient by them is a product of matrices."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:  # noqa: D102 - Keras' own
        return convolve_pixels(inputs, tf.convert_to_tensor(kernel), self.padding.upper())


def ease_gradient(model: keras.Model) -> keras.Model:
    """Replace the convolutions of pixels: the same function and other layers, a faster gradient by the input."""
    replaced = [layer for layer in model.layers if _has_pixels(layer)]
    if not replaced:
        return model
    eased = keras.models.clone_model(
        model,
        clone_function=lambda layer: PixelConvolution.from_config(layer.get_config()) if layer in replaced else layer,
    )
    for layer in replaced:
        eased.get_layer(layer.name).set_weights(layer.get_weights())
    return eased


def _has_pixels(layer: keras.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.input.shape[-1] <= FEW_CHANNELS
        and layer.strides == layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
    )


def convolve_pixels(inputs: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Convolve with stride 1, (n, h, w, c) to (n, h', w', k); `kernel` is (rows, columns, c, k).

    Backwards, a product of matrices gives what each tap of the kernel hands to the pixels, plane by plane; the planes
    are shifted and summed. There is no gradient by the kernel.
    """

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        outputs = tf.nn.conv2d(inputs, kernel, 1, padding)
        return outputs, lambda upstream: _spread(upstream, tf.stop_gradient(kernel), inputs, padding)

    return convolve(inputs)


def _spread(upstream: tf.Tensor, kernel: tf.Tensor, inputs: tf.Tensor, padding: str) -> tf.Tensor:
    """Compute the gradient by the inputs of a convolution, from the gradient by its outputs."""
    n = tf.shape(upstream)[0]
    height, width, n_filters = upstream.shape[1:]
    rows, columns, n_channels, _ = kernel.shape
    size = rows * columns * n_channels
    # What each tap hands to each pixel: (n, taps * c, k) @ (n, k, h' * w') -> (n, taps, c, h', w')
    kernels = tf.broadcast_to(tf.reshape(kernel, (size, n_filters)), (n, size, n_filters))
    taps = tf.matmul(kernels, tf.reshape(upstream, (n, height * width, n_filters)), transpose_b=True)
    taps = tf.reshape(taps, (n, rows * columns, n_channels, height, width))
    # Shift each tap's plane (n, c, h', w') to its place, sum, and put the channels last: (n, h, w, c)
    shifted = [
        tf.pad(plane, [[0, 0], [0, 0], [row, rows - 1 - row], [column, columns - 1 - column]])
        for plane, (row, column) in zip(tf.unstack(taps, axis=1), np.ndindex(rows, columns), strict=True)
    ]
    whole = tf.transpose(tf.add_n(shifted), (0, 2, 3, 1))
    if padding == "VALID":
        return whole
    top, left = (rows - 1) // 2, (columns - 1) // 2
    return whole[:, top : top + inputs.shape[1], left : left + inputs.shape[2]]
