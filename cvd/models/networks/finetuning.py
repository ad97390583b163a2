"""Fine-tuning: a pretrained network's last blocks are trained further, the rest stays frozen."""

import hashlib
import math
import re
from collections.abc import Sequence

import keras
import numpy as np

from cvd.models.networks.head import FEATURES
from cvd.models.networks.layers import list_leaves

# A layer of a numbered block (EfficientNet-Lite's block_15_expand, VGG16's block5_conv1, Xception's block14_sepconv1,
# EfficientNetV2's block6h_add), or the layer that ends one (InceptionV3's mixed9).
_INSIDE = re.compile(r"block_?(\d+[a-z]?)_")
_END = re.compile(r"mixed\d+$")
_PART = re.compile(r"(lite\d_)?")  # what the names of one network begin with, where a backbone is several


def unfreeze_blocks(model: keras.Model, n_blocks: int) -> list[str]:
    """Unfreeze the head and the backbone's last blocks; BatchNorm stays frozen, hence in inference mode.

    Keras' frozen BatchNorm normalises by its moving statistics in training too, and does not update them: batches of
    twenty would soon spoil statistics of a million images (Chollet 2021, Deep Learning with Python, section 8.3.2).

    Args:
        model: of `attach_head`, not yet compiled: then Keras collects the trainable weights.
        n_blocks: from the backbone's end. What follows the last block (`head` of EfficientNet-Lite) is part of it. Of a
            backbone of several networks, so many of each.

    Returns:
        Names of the layers that learn, from input to output.

    Raises:
        ValueError: the backbone has fewer blocks than that, or the model has no layer `features`.
    """
    late = _find_late(model, n_blocks)
    for layer in model.layers:
        layer.trainable = layer.name in late and not isinstance(layer, keras.layers.BatchNormalization)
    return [layer.name for layer in model.layers if layer.trainable_weights]


def find_boundary(model: keras.Model, n_blocks: int) -> list[keras.KerasTensor]:
    """Find what the last blocks and the head read of the rest: tensors (n, h, w, k) of the model, or its features.

    It is one tensor, or one of each network where the backbone is several.

    Raises:
        ValueError: the backbone has fewer blocks.
    """
    if not n_blocks:
        return [model.get_layer(FEATURES).output]
    late = _find_late(model, n_blocks)
    read = {id(x): x for layer in model.layers if layer.name in late for x in _list_inputs(layer)}
    return [x for x in read.values() if x._keras_history.operation.name not in late]


def cut_blocks(model: keras.Model, n_blocks: int) -> keras.Model:
    """Take the last blocks and the head out of a model; they share its weights.

    They read `find_boundary`'s tensor as it is; several laid out behind one another, (n, k), as `make_extractor` does.
    """
    boundary = find_boundary(model, n_blocks)
    if len(boundary) == 1:
        return keras.Model(boundary[0], model.output, name="blocks")
    sizes = [math.prod(tensor.shape[1:]) for tensor in boundary]
    flat = keras.Input((sum(sizes),), name="flat")
    ends = np.cumsum(sizes).tolist()
    parts = [
        keras.ops.reshape(flat[:, end - size : end], (-1, *tensor.shape[1:]))
        for tensor, size, end in zip(boundary, sizes, ends, strict=True)
    ]
    return keras.Model(flat, keras.Model(boundary, model.output, name="behind")(parts), name="blocks")


def hash_frozen_weights(model: keras.Model) -> str:
    """Compute SHA-256 of the weights of frozen layers, BatchNorm's statistics included, with their paths."""
    digest = hashlib.sha256()
    for layer in list_leaves(model):
        for weight in [] if layer.trainable else layer.weights:
            digest.update(weight.path.encode())
            digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _find_late(model: keras.Model, n_blocks: int) -> set[str]:
    """Find the names of the layers of the last blocks, and of all that follows from them."""
    names = [layer.name for layer in model.layers]
    if FEATURES not in names:
        raise ValueError(f"model {model.name!r} has no layer {FEATURES!r}")
    n_backbone = names.index(FEATURES)
    parts: dict[str, list[str]] = {}
    for name in names[:n_backbone]:
        parts.setdefault(_PART.match(name)[0], []).append(name)  # type: ignore[index]
    blocks = [
        [part[start:] for start in _find_starts([name.removeprefix(prefix) for name in part])]
        for prefix, part in parts.items()
    ]
    n_most = min((len(ends) for ends in blocks if ends), default=0)
    if not 0 <= n_blocks <= n_most:
        raise ValueError(f"n_blocks is {n_blocks}: model {model.name!r} has {n_most} blocks that can be unfrozen")
    late = set(names[n_backbone:]).union(*(ends[-n_blocks] for ends in blocks if ends and n_blocks))
    for layer in model.layers:
        if any(x._keras_history.operation.name in late for x in _list_inputs(layer)):
            late.add(layer.name)
    return late


def _list_inputs(layer: keras.Layer) -> list[keras.KerasTensor]:
    return [] if isinstance(layer, keras.layers.InputLayer) else keras.tree.flatten(layer.input)


def _find_starts(names: Sequence[str]) -> list[int]:
    """Find where each block begins in the names of a backbone's layers, from input to output."""
    starts: list[int] = []
    block = ""
    for index, name in enumerate(names):
        inside = _INSIDE.match(name)
        if inside and inside[1] != block:
            block = inside[1]
            starts.append(index)
        elif index and _END.match(names[index - 1]):
            starts.append(index)
    return starts
