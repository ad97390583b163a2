"""Gradients of a class by the activations of layers: what Grad-CAM, Grad-CAM++ and HiResCAM are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cvd.vis.explaining.graphs import check_classes, check_images, find_output, linearise_output


class Evidence(NamedTuple):
    """What a map is made from, for n images and one layer."""

    activations: np.ndarray  # (n, h', w', k)
    gradients: np.ndarray  # (n, h', w', k): of the logit with respect to the activations


# (images (n, h, w, 3), class_index) -> logits (n, classes), evidence of each layer
Differentiate = Callable[[np.ndarray, int | np.ndarray], tuple[np.ndarray, dict[str, Evidence]]]


def make_differentiator(model: keras.Model, layers: Sequence[str], *, batch_size: int = 16) -> Differentiate:
    """A function that gives logits, and activations of layers with the logits' gradients by them, as `take_gradients`.

    It is compiled at its first call: make it once for many calls.

    Args:
        model: any Keras classifier with one input; a final softmax or sigmoid is left out.
        layers: names of layers whose output is (n, h', w', k).
        batch_size: images per pass, at least 1.

    Raises:
        InputError: a layer is unknown or its output is not 4-D.
    """
    graph = keras.Model(model.inputs[0], [linearise_output(model), *(find_output(model, name) for name in layers)])
    pixels = tf.TensorSpec(model.inputs[0].shape, tf.float32)

    # As one graph TensorFlow fuses convolutions with what follows them: four times as fast as operation by operation.
    @tf.function(input_signature=[pixels, tf.TensorSpec([None], tf.int64)])
    def differentiate(batch: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)
            scores, *activations = graph(batch, training=False)
            chosen = tf.gather(scores, classes, axis=1, batch_dims=1)
        gradients = tape.gradient(chosen, activations, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return scores, activations, gradients

    def run(images: np.ndarray, class_index: int | np.ndarray = 0) -> tuple[np.ndarray, dict[str, Evidence]]:
        pixels = check_images(model, images)
        classes = check_classes(model, class_index, len(pixels))
        parts = [
            differentiate(
                tf.constant(pixels[start : start + batch_size]), tf.constant(classes[start : start + batch_size])
            )
            for start in range(0, len(pixels), batch_size)
        ]
        found = {
            name: Evidence(_join(part[1][place] for part in parts), _join(part[2][place] for part in parts))
            for place, name in enumerate(layers)
        }
        return _join(part[0] for part in parts), found

    return run


def _join(batches: Iterable[tf.Tensor]) -> np.ndarray:
    return np.concatenate([np.asarray(batch, np.float32) for batch in batches])


def take_gradients(
    model: keras.Model, images: np.ndarray, *, layers: Sequence[str], class_index: int | np.ndarray = 0
) -> tuple[np.ndarray, dict[str, Evidence]]:
    """Logits, and activations of layers with the logits' gradients by them, in one pass forward and back.

    Args:
        model: any Keras classifier with one input; a final softmax or sigmoid is left out.
        images: (n, h, w, 3), uint8 or float32, pixels 0..255, of the size that the model takes.
        layers: names of layers whose output is (n, h', w', k).
        class_index: which of the model's outputs, for all images or (n,).

    Returns:
        Logits (n, classes), float32, and for each layer its evidence; a layer that the logit does not depend on
        has gradients of 0.

    Raises:
        InputError: a layer is unknown or its output is not 4-D, images or class do not fit the model.
    """
    return make_differentiator(model, layers)(images, class_index)
