"""Fine-tuning: a pretrained network's last blocks are trained further, the rest stays frozen."""

import hashlib
import re
from collections.abc import Sequence

import keras

from cvd.models.networks.head import FEATURES

# A layer of a numbered block (EfficientNet-Lite's block_15_expand, VGG16's block5_conv1, Xception's block14_sepconv1,
# EfficientNetV2's block6h_add), or the layer that ends one (InceptionV3's mixed9).
_INSIDE = re.compile(r"block_?(\d+[a-z]?)_")
_END = re.compile(r"mixed\d+$")


def unfreeze_blocks(model: keras.Model, n_blocks: int) -> list[str]:
    """Unfreeze the head and the backbone's last blocks; BatchNorm stays frozen, hence in inference mode.

    Keras' frozen BatchNorm normalises by its moving statistics in training too, and does not update them: batches of
    twenty would soon spoil statistics of a million images (Chollet 2021, Deep Learning with Python, section 8.3.2).

    Args:
        model: of `attach_head`, not yet compiled: then Keras collects the trainable weights.
        n_blocks: from the backbone's end. What follows the last block (`head` of EfficientNet-Lite) is part of it.

    Returns:
        Names of the layers that learn, from input to output.

    Raises:
        ValueError: the backbone has fewer blocks than that, or the model has no layer `features`.
    """
    start = _find_start(model, n_blocks)
    for index, layer in enumerate(model.layers):
        layer.trainable = index >= start and not isinstance(layer, keras.layers.BatchNormalization)
    return [layer.name for layer in model.layers if layer.trainable_weights]


def find_boundary(model: keras.Model, n_blocks: int) -> keras.KerasTensor:
    """Find what the last blocks read of the rest: a tensor (n, h, w, k) of the model; without blocks its features.

    Raises:
        ValueError: the backbone has fewer blocks, or they read more than one tensor.
    """
    if not n_blocks:
        return model.get_layer(FEATURES).output
    start = _find_start(model, n_blocks)
    before = {layer.name for layer in model.layers[:start]}
    inputs = [x for layer in model.layers[start:] for x in keras.tree.flatten(layer.input)]
    read = {id(x): x for x in inputs if x._keras_history.operation.name in before}
    if len(read) != 1:
        raise ValueError(f"n_blocks is {n_blocks}: these blocks of {model.name!r} read {len(read)} tensors, not one")
    return read.popitem()[1]


def hash_frozen_weights(model: keras.Model) -> str:
    """Compute SHA-256 of the weights of frozen layers, BatchNorm's statistics included, with their paths."""
    digest = hashlib.sha256()
    for layer in model.layers:
        for weight in [] if layer.trainable else layer.weights:
            digest.update(weight.path.encode())
            digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _find_start(model: keras.Model, n_blocks: int) -> int:
    """Find the index of the first layer of the last blocks."""
    names = [layer.name for layer in model.layers]
    if FEATURES not in names:
        raise ValueError(f"model {model.name!r} has no layer {FEATURES!r}")
    n_backbone = names.index(FEATURES)
    starts = _find_starts(names[:n_backbone])
    if not 0 <= n_blocks <= len(starts):
        raise ValueError(f"n_blocks is {n_blocks}: model {model.name!r} has {len(starts)} blocks that can be unfrozen")
    return starts[-n_blocks] if n_blocks else n_backbone


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
