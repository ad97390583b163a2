"""Surgery on Keras graphs: cut one at a layer, give it another input size, take logits before a softmax; and run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvd.runtime.errors import InputError
from cvd.vis.explaining.layers import find_output


def _cut_model(model: keras.Model, layers: Sequence[str]) -> keras.Model:
    """Cut a model at some layers; the weights are shared: pixels -> list of (n, h, w, k)."""
    return keras.Model(model.inputs[0], [find_output(model, name) for name in layers])


def cut_filters(model: keras.Model, layer: str, *, size_px: int) -> keras.Model:
    """Copy a model up to one layer, with the same weights, for square pictures of any size.

    Returns:
        Maps pixels (n, size_px, size_px, 3) to [before, after]: the layer's output without and with its rectifier
        (ReLU, as a layer or inside a convolution), (n, h', w', k) each; the same where there is none.

    Raises:
        InputError: the layer is unknown, its output is not 4-D, or it has no output at this size.
    """
    copy = resize_layers(model, [layer], size_px=size_px)
    final = copy.get_layer(layer)
    after = copy.outputs[0]
    before = after
    if type(final).__name__ == "ReLU" or _name_activation(final) in ("relu", "relu6"):
        before = final.input
        if type(final).__name__ not in ("ReLU", "Activation"):
            bare = type(final).from_config({**final.get_config(), "activation": "linear", "name": f"{layer}_linear"})
            before = bare(final.input)
            bare.set_weights(final.get_weights())
            after = keras.layers.Activation(final.activation, name=f"{layer}_rectified")(before)
    return keras.Model(copy.inputs[0], [before, after])


def _name_activation(layer: Any) -> str:
    return getattr(getattr(layer, "activation", None), "__name__", "linear")


def resize_layers(model: keras.Model, layers: Sequence[str], *, size_px: int) -> keras.Model:
    """Copy a model up to some layers, with the same weights, for square pictures of any size.

    Returns:
        Maps pixels (n, size_px, size_px, 3) to a list of (n, h', w', k), one for each layer.

    Raises:
        InputError: a layer is unknown, its output is not 4-D, or it has no output at this size.
    """
    cut = _cut_model(model, layers)
    try:
        copy = keras.models.clone_model(cut, input_tensors=keras.Input((size_px, size_px, 3), name="pixels"))
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"size_px is {size_px}, which model {model.name!r} cannot take: {reason}") from error
    copy.set_weights(cut.get_weights())
    return copy


def linearise_output(model: keras.Model) -> Any:
    """Find the model's scores before a final softmax or sigmoid: a tensor (n, classes) of its own graph."""
    output = model.outputs[0]
    final = output._keras_history.operation
    kind, is_squashed = type(final).__name__, _name_activation(final) in ("softmax", "sigmoid")
    if kind == "Softmax" or (kind == "Activation" and is_squashed):
        return final.input
    if kind != "Dense" or not is_squashed:
        return output
    node = final._inbound_nodes[output._keras_history.node_index]
    config = {**final.get_config(), "activation": "linear", "name": f"{final.name}_linear"}
    linear = keras.layers.Dense.from_config(config)
    scores = linear(node.input_tensors[0])
    linear.set_weights(final.get_weights())
    return scores


def input_side(model: keras.Model) -> int:
    """Side of the square images that a network takes, px."""
    return int(model.inputs[0].shape[1])


def compute_activations(
    model: keras.Model, images: np.ndarray, *, layers: Sequence[str], batch_size: int = 16
) -> dict[str, np.ndarray]:
    """Compute what layers answer to images (n, h, w, 3), pixels 0..255, all layers in one forward pass.

    After Chollet, Deep Learning with Python (2017), listing 5.27.

    Returns:
        For each layer, in the order given, (n, h', w', k), float32.

    Raises:
        InputError: a layer is unknown or its output is not 4-D, or the images do not fit the model.
    """
    cut = _cut_model(model, layers)
    pixels = check_images(model, images)
    # Keras gives a list of outputs, but a bare tensor where there is only one.
    batches = [
        keras.tree.flatten(cut(pixels[start : start + batch_size], training=False))
        for start in range(0, len(pixels), batch_size)
    ]
    return {
        name: np.concatenate([np.asarray(batch[index], np.float32) for batch in batches])
        for index, name in enumerate(layers)
    }


def make_scorer(model: keras.Model, *, batch_size: int = 32) -> Callable[[np.ndarray], np.ndarray]:
    """Compile images (n, h, w, 3) -> scores (n, classes), float32: those before a final softmax or sigmoid."""
    graph = keras.Model(model.inputs[0], linearise_output(model))
    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32)]
    run = tf.function(lambda batch: graph(batch, training=False), input_signature=signature)

    def score(images: np.ndarray) -> np.ndarray:
        pixels = check_images(model, images)
        batches = [run(tf.constant(pixels[first : first + batch_size])) for first in range(0, len(pixels), batch_size)]
        return np.concatenate([np.asarray(batch, np.float32) for batch in batches])

    return score


def compute_probabilities(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of logits (n, classes): the sigmoid of one, the softmax of many; float32."""
    if logits.shape[1] == 1:
        return np.exp(-np.logaddexp(0, -logits.astype(np.float64))).astype(np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def check_images(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Check that images fit a model, and convert them to float32.

    Raises:
        InputError: they are not (n, h, w, 3), or not of the model's size.
    """
    images = np.asarray(images)
    expected = tuple(model.inputs[0].shape)
    if images.ndim != 4 or any(
        side not in (None, side_px) for side, side_px in zip(expected[1:], images.shape[1:], strict=True)
    ):
        raise InputError(f"images of shape {images.shape} do not fit model {model.name!r}: it takes {expected}")
    return images.astype(np.float32)


def weigh_classes(model: keras.Model, class_index: int | np.ndarray, n_images: int) -> np.ndarray:
    """Give each of n images the weights of the logits whose sum is explained, (n, classes), float32.

    `class_index` is a class for all images or (n,), of weight 1 among zeros. Or it is the weights (n, classes), such as
    1 and -1 for the difference of two classes.

    Raises:
        InputError: the model has no such class.
    """
    given, n_classes = np.asarray(class_index), model.outputs[0].shape[-1]
    if given.ndim == 2 and given.shape == (n_images, n_classes):
        return given.astype(np.float32)
    if given.ndim > 1 or (given.size and not 0 <= given.min() <= given.max() < n_classes):
        raise InputError(f"class_index is {class_index}: model {model.name!r} has classes 0 to {n_classes - 1}")
    return np.eye(n_classes, dtype=np.float32)[np.broadcast_to(given.astype(np.int64), n_images)]
