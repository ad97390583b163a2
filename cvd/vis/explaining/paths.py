"""Gradients along a straight path from a plain picture to an image: what integrated gradients are made from."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cvd.vis.explaining.graphs import check_classes, check_images, linearise_output

STEPS = 32  # of the path; the sum of an attribution then misses the logit's change by a percent or so


def average_gradients(
    model: keras.Model,
    images: np.ndarray,
    *,
    class_index: int | np.ndarray = 0,
    start: float = 0.0,
    steps: int = STEPS,
    batch_size: int = 16,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a logit by the pixels, averaged along the path (Sundararajan et al. 2017, eq. 3, at midpoints).

    Args:
        model: any Keras classifier with one input; a final softmax or sigmoid is left out.
        images: (n, h, w, 3), uint8 or float32, pixels 0..255, of the size that the model takes.
        class_index: which of the model's outputs, for all images or (n,).
        start: the grey of the picture that the path begins with, 0 (black, as in the paper) to 255.
        steps: of the path, at least 1.
        batch_size: pictures per pass, at least 1.

    Returns:
        Image minus start, and gradients, both (n, h, w, 3), float32. Their product is the attribution: summed over an
        image it is the change of the logit along the path.

    Raises:
        InputError: images or class do not fit the model.
    """
    pixels = check_images(model, images)
    classes = check_classes(model, class_index, len(pixels))
    graph = keras.Model(model.inputs[0], linearise_output(model))

    @tf.function(reduce_retracing=True)
    def differentiate(batch: tf.Tensor, class_of: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)
            chosen = tf.gather(graph(batch, training=False), class_of, axis=1)
        gradients = tape.gradient(chosen, batch, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return tf.reduce_sum(gradients, axis=0)

    differences = pixels - np.float32(start)
    shares = ((np.arange(steps) + 0.5) / steps).astype(np.float32)
    gradients = np.zeros(pixels.shape, np.float64)
    for index, difference in enumerate(differences):
        for first in range(0, steps, batch_size):
            batch = start + shares[first : first + batch_size, None, None, None] * difference
            gradients[index] += differentiate(tf.constant(batch, tf.float32), tf.constant(classes[index])).numpy()
    return differences, (gradients / steps).astype(np.float32)
