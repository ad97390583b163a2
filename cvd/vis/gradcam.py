"""Class activation maps: where in an image a network finds evidence for a class.

One function takes gradients with TensorFlow; weighing and combining them are pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cvd.errors import InputError
from cvd.vis.graphs import check_images, find_output, linearise_output, predict_probabilities


class Evidence(NamedTuple):
    """What a map is made from, for n images and one layer."""

    activations: np.ndarray  # (n, h', w', k)
    gradients: np.ndarray  # (n, h', w', k): of the logit with respect to the activations


# (activations, gradients) -> maps (n, h', w')
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def take_gradients(
    model: keras.Model,
    images: np.ndarray,
    *,
    layers: Sequence[str],
    class_index: int | np.ndarray = 0,
    batch_size: int = 16,
) -> tuple[np.ndarray, dict[str, Evidence]]:
    """Logits, and activations of layers with the logits' gradients by them, in one pass forward and back.

    Args:
        model: any Keras classifier with one input; a final softmax or sigmoid is left out.
        images: (n, h, w, 3), uint8 or float32, pixels 0..255, of the size that the model takes.
        layers: names of layers whose output is (n, h', w', k).
        class_index: which of the model's outputs, for all images or (n,).
        batch_size: images per pass, at least 1.

    Returns:
        Logits (n, classes), float32, and for each layer its evidence; a layer that the logit does not depend on
        has gradients of 0.

    Raises:
        InputError: a layer is unknown or its output is not 4-D, images or class do not fit the model.
    """
    graph = keras.Model(model.inputs[0], [linearise_output(model), *(find_output(model, name) for name in layers)])
    pixels = check_images(model, images)
    classes = np.broadcast_to(np.asarray(class_index, np.int64), len(pixels))
    n_classes = graph.outputs[0].shape[-1]
    if classes.size and not 0 <= classes.min() <= classes.max() < n_classes:
        raise InputError(f"class_index is {class_index}: model {model.name!r} has classes 0 to {n_classes - 1}")
    batches = [
        _differentiate(graph, pixels[start : start + batch_size], classes[start : start + batch_size])
        for start in range(0, len(pixels), batch_size)
    ]
    logits, activations, gradients = (list(part) for part in zip(*batches, strict=True))
    evidence = {
        name: Evidence(
            np.concatenate([each[i] for each in activations]), np.concatenate([each[i] for each in gradients])
        )
        for i, name in enumerate(layers)
    }
    return np.concatenate(logits), evidence


def _differentiate(
    graph: keras.Model, pixels: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Logits, activations and gradients of a batch, float32."""
    inputs = tf.constant(pixels)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        scores, *activations = graph(inputs, training=False)
        chosen = tf.gather(scores, tf.constant(classes), axis=1, batch_dims=1)
    gradients = tape.gradient(chosen, activations, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return (
        np.asarray(scores, np.float32),
        [np.asarray(each, np.float32) for each in activations],
        [np.asarray(each, np.float32) for each in gradients],
    )


def combine_grad_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017, eqs. 1-2): channels weighed by their mean gradient, summed, positive part.

    Args:
        activations: (n, h', w', k).
        gradients: (n, h', w', k), of the logit by the activations.

    Returns:
        (n, h', w'), >= 0, in logits.
    """
    return np.maximum(combine_channels(activations, gradients.mean(axis=(1, 2))), 0)


def combine_grad_cam_plus_plus(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Grad-CAM++ (Chattopadhay et al. 2018, eqs. 10-19, for exp(logit)): positions weigh positive gradients.

    Up to the factor exp(logit), which is the same for a whole map and is left out. Libraries differ here: tf-keras-vis
    scales the weights of each channel to a sum of 1, xplique has the mean of a channel where the paper has its sum.

    Args:
        activations: (n, h', w', k).
        gradients: (n, h', w', k), of the logit by the activations.

    Returns:
        (n, h', w'), >= 0.
    """
    sums = activations.sum(axis=(1, 2), keepdims=True, dtype=np.float64)
    denominators = 2 + sums * gradients  # of g^2 / (2 g^2 + sum(A) g^3), where g is not 0
    alphas = np.divide(1.0, denominators, out=np.zeros_like(denominators), where=denominators > 0)
    weights = (alphas * np.maximum(gradients, 0)).sum(axis=(1, 2)).astype(activations.dtype)
    return np.maximum(combine_channels(activations, weights), 0)


def combine_hires_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """HiResCAM (Draelos and Carin 2020, eq. 3): activation times gradient, each position by itself; positive part.

    Args:
        activations: (n, h', w', k).
        gradients: (n, h', w', k), of the logit by the activations.

    Returns:
        (n, h', w'), >= 0, in logits.
    """
    return np.maximum(np.einsum("nhwk,nhwk->nhw", activations, gradients), 0)


def combine_channels(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of channels (n, h', w', k) with a weight for each (n, k): (n, h', w')."""
    return np.einsum("nhwk,nk->nhw", activations, weights)


METHODS: dict[str, Method] = {
    "gradcam": combine_grad_cam,
    "gradcam++": combine_grad_cam_plus_plus,
    "hirescam": combine_hires_cam,
}


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    *,
    layer: str,
    sign: int | np.ndarray = 1,
    class_index: int | np.ndarray = 0,
    method: str = "gradcam",
) -> np.ndarray:
    """Grad-CAM heat maps (Selvaraju et al. 2017, eqs. 1-2) of a one-logit classifier, or of one class of many.

    Args:
        model: maps images to logits, shape (n, 1), positive means dog; or to (n, classes), logits or softmax.
        images: (n, h, w, 3), uint8 or float32, pixels 0..255.
        layer: name of a layer whose output is (n, h', w', k).
        sign: +1 explains what raises the logit ("dog"), -1 what lowers it ("cat"); for all images or (n,).
        class_index: which output of a model with many, for all images or (n,).
        method: gradcam, gradcam++ or hirescam.

    Returns:
        (n, h', w'), float32, >= 0, in logits; not normalised, so maps stay comparable. All 0 where nothing in the
        layer speaks for the class.

    Raises:
        InputError: `layer` is unknown or its output is not 4-D, or another argument does not fit. A ValueError.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}: choose from {', '.join(METHODS)}")
    _, evidence = take_gradients(model, images, layers=[layer], class_index=class_index)
    return combine_evidence(evidence[layer], sign=sign, method=method)


def combine_evidence(evidence: Evidence, *, sign: int | np.ndarray = 1, method: str = "gradcam") -> np.ndarray:
    """Maps (n, h', w') of the logit (`sign` +1) or of its negative (-1); `sign` for all images or (n,).

    Raises:
        InputError: a sign is neither +1 nor -1.
    """
    signs = np.asarray(sign, np.float32)
    if not np.isin(signs, (-1, 1)).all():
        raise InputError(f"sign is {sign}: +1 explains dog, -1 explains cat")
    gradients = evidence.gradients * signs.reshape(-1, 1, 1, 1)
    return METHODS[method](evidence.activations, gradients).astype(np.float32)


def explain_top_classes(
    model: keras.Model, images: np.ndarray, *, layer: str, top: int, method: str = "gradcam"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The most probable classes of a classifier of many, each with its heat map.

    Args:
        model: maps images to (n, classes), logits or softmax.
        images: (n, h, w, 3), uint8 or float32, pixels 0..255.
        layer: name of a layer whose output is (n, h', w', k).
        top: how many classes, at least 1; all when there are fewer.
        method: gradcam, gradcam++ or hirescam.

    Returns:
        Classes (n, top), probabilities (n, top), and maps (n, top, h', w') in logits; most probable first.

    Raises:
        InputError: `layer` is unknown or its output is not 4-D, or the images do not fit.
    """
    probabilities = predict_probabilities(model, images)
    classes = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    maps = grad_cam(
        model,
        np.repeat(images, classes.shape[1], axis=0),
        layer=layer,
        class_index=classes.reshape(-1),
        method=method,
    )
    return classes, np.take_along_axis(probabilities, classes, axis=1), maps.reshape(*classes.shape, *maps.shape[1:])
