"""Surgery on Keras graphs: cutting one at a layer, for another input size, and taking logits before a softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvd.runtime.errors import InputError
from cvd.vis.explaining.layers import check_layer


def load_classifier(path: str | Path) -> keras.Model:
    """Loads a saved model.

    Raises:
        InputError: the file is missing or is no Keras model.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"model {path} does not exist: train it first, with `dvc repro`")
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"model {path} cannot be loaded: {str(error).strip().splitlines()[0]}") from error


def find_output(model: keras.Model, layer: str) -> Any:
    """The tensor that a layer gives in this very graph (a layer may have been called in others before).

    Raises:
        InputError: no layer has this name, or its output is not (n, h, w, k).
    """
    check_layer(model, layer)
    target = model.get_layer(layer)
    own = {id(node) for nodes in getattr(model, "_nodes_by_depth", {}).values() for node in nodes}
    for node in target._inbound_nodes:
        if id(node) in own:
            return node.output_tensors[0]
    return target.output


def cut_model(model: keras.Model, layers: Sequence[str]) -> keras.Model:
    """The part of a model up to some layers, sharing its weights: pixels -> list of (n, h, w, k).

    Raises:
        InputError: a layer is unknown or its output is not 4-D.
    """
    return keras.Model(model.inputs[0], [find_output(model, name) for name in layers])


def cut_filters(model: keras.Model, layer: str, *, size_px: int) -> keras.Model:
    """A copy of a model up to one layer, for square pictures of any size, same weights.

    Returns:
        Maps pixels (n, size_px, size_px, 3) to [before, after]: the layer's output without and with its rectifier
        (ReLU, as a layer or inside a convolution), (n, h', w', k) each; the same where there is none.

    Raises:
        InputError: the layer is unknown, its output is not 4-D, or it has no output at this size.
    """
    copy = _resize_input(cut_model(model, [layer]), size_px)
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


def _resize_input(model: keras.Model, size_px: int) -> keras.Model:
    try:
        copy = keras.models.clone_model(model, input_tensors=keras.Input((size_px, size_px, 3), name="pixels"))
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"size_px is {size_px}, which model {model.name!r} cannot take: {reason}") from error
    copy.set_weights(model.get_weights())
    return copy


def linearise_output(model: keras.Model) -> Any:
    """The model's scores before a final softmax or sigmoid, as a tensor (n, classes) of its own graph.

    A model that ends in logits is taken as it is. The model itself is not changed.
    """
    output = model.outputs[0]
    final = output._keras_history.operation
    activation = _name_activation(final)
    if type(final).__name__ == "Softmax":
        return final.input
    if activation not in ("softmax", "sigmoid") or type(final).__name__ not in ("Activation", "Dense"):
        return output
    if type(final).__name__ == "Activation":
        return final.input
    node = final._inbound_nodes[output._keras_history.node_index]
    config = {**final.get_config(), "activation": "linear", "name": f"{final.name}_linear"}
    linear = keras.layers.Dense.from_config(config)
    scores = linear(node.input_tensors[0])
    linear.set_weights(final.get_weights())
    return scores


def input_side(model: keras.Model) -> int:
    """Side of the square pictures that a saved variant takes, px."""
    return int(model.inputs[0].shape[1])


def predict_probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What a model says, (n, classes), float32: the sigmoid of one logit, the softmax of many.

    Args:
        model: any Keras classifier, ending in logits or in probabilities.
        images: (n, h, w, 3), uint8 or float32, pixels 0..255.
    """
    return compute_probabilities(make_scorer(model)(images))


def make_scorer(model: keras.Model, *, batch_size: int = 32) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images (n, h, w, 3) to scores (n, classes), float32: those before a final softmax or sigmoid."""
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
    """Images as a model takes them, float32.

    Raises:
        InputError: they are not (n, h, w, 3), or not of the model's size.
    """
    images = np.asarray(images)
    expected = tuple(model.inputs[0].shape)
    if images.ndim != 4 or any(
        own not in (None, side) for own, side in zip(expected[1:], images.shape[1:], strict=True)
    ):
        raise InputError(f"images of shape {images.shape} do not fit model {model.name!r}: it takes {expected}")
    return images.astype(np.float32)


def check_classes(model: keras.Model, class_index: int | np.ndarray, n_images: int) -> np.ndarray:
    """A class for each of n images, (n,), int64.

    Raises:
        InputError: the model has no such class.
    """
    classes = np.broadcast_to(np.asarray(class_index, np.int64), n_images)
    n_classes = model.outputs[0].shape[-1]
    if classes.size and not 0 <= classes.min() <= classes.max() < n_classes:
        raise InputError(f"class_index is {class_index}: model {model.name!r} has classes 0 to {n_classes - 1}")
    return classes
