"""Choose and check the layers of a Keras model that are shown. No TensorFlow: models are only inspected."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvd.runtime.errors import InputError

if TYPE_CHECKING:
    import keras

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")
POOLINGS = ("MaxPooling2D", "AveragePooling2D")
GLOBAL_POOLINGS = ("GlobalMaxPooling2D", "GlobalAveragePooling2D")
NORMALISATIONS = ("BatchNormalization", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU")
PIXELS = "pixels"  # stands for the layer of methods that explain by the image itself
N_STAGES = 5  # layers of a deep network whose filters are shown by default
GRAD_CAM_DEPTHS = (0.25, 0.6, 1.0)  # shares of the way through the convolutions
PLAIN_CONVOLUTIONS = 8  # up to so many convolutions, all of them are shown


def list_layers(model: keras.Model, *, types: Sequence[str] | None = None) -> list[str]:
    """Names of the layers with 4-D output (n, h, w, k), from input to output; only those of the given types if any."""
    kinds = {layer.name: type(layer).__name__ for layer in model.layers if _is_spatial(layer)}
    return [name for name, kind in kinds.items() if (kind != "InputLayer" if types is None else kind in types)]


def check_layer(model: keras.Model, name: str) -> None:
    """Check that a layer can be shown.

    Raises:
        InputError: no layer has this name, or its output is not (n, h, w, k), or channels come first.
    """
    require_channels_last(model)
    layers = {layer.name: layer for layer in model.layers}
    if name not in layers:
        raise InputError(f"layer {name!r} is not in model {model.name!r}: {_suggest(name, list_layers(model))}")
    if not _is_spatial(layers[name]):
        shape, advice = getattr(layers[name].output, "shape", None), _suggest(name, list_layers(model))
        raise InputError(f"layer {name!r} of model {model.name!r} gives {shape}, not (n, h, w, k): {advice}")


def find_output(model: keras.Model, layer: str) -> Any:
    """Find the tensor that a layer gives in this graph; the layer may have been called in other graphs too.

    Raises:
        InputError: no layer has this name, or its output is not (n, h, w, k).
    """
    check_layer(model, layer)
    target = model.get_layer(layer)
    nodes = {id(node) for depth in getattr(model, "_nodes_by_depth", {}).values() for node in depth}
    return next((node.output_tensors[0] for node in target._inbound_nodes if id(node) in nodes), target.output)


def require_channels_last(model: keras.Model) -> None:
    """Check that all convolutions and poolings, also those of nested models, read (n, h, w, c).

    Raises:
        InputError: one reads (n, c, h, w).
    """
    kinds = CONVOLUTIONS + POOLINGS + GLOBAL_POOLINGS
    for layer in model.layers:
        if hasattr(layer, "layers"):
            require_channels_last(layer)
        if type(layer).__name__ in kinds and layer.data_format == "channels_first":
            raise InputError(
                f"layer {layer.name!r} of model {model.name!r} has its channels first: only (n, h, w, c) can be shown"
            )


def choose_activation_layers(model: keras.Model, layers: Sequence[str] | None) -> list[str]:
    """Check the named layers; for None choose every convolution (depthwise, separable too) and pooling layer.

    Each convolution is followed to its normalisation and activation: before these no channel is silent.

    Raises:
        InputError: a name is unknown or its output is not 4-D, or there is no such layer at all.
    """
    if layers:
        return _check(model, layers)
    chosen = _require(model, _list_maps(model, CONVOLUTIONS + POOLINGS))
    return list(dict.fromkeys(follow_convolution(model, name, through_sums=False) for name in chosen))


def check_channels(model: keras.Model, layers: Sequence[str], channels: Sequence[int]) -> None:
    """Check that at least one of the layers has each of these channels, numbered from 0.

    Raises:
        InputError: none has.
    """
    widest = max(find_output(model, layer).shape[-1] for layer in layers)
    if unknown := [channel for channel in channels if channel >= widest]:
        fault = f"activations.channels names {unknown[0]}"
        raise InputError(f"{fault}: the widest layer of model {model.name!r} has channels 0 to {widest - 1}")


def choose_filter_layers(model: keras.Model, layers: Sequence[str] | None) -> list[str]:
    """Check the named layers; for None choose every convolution of a plain network, five stages of a deep one.

    A stage ends after the normalisation and activation of its last convolution.

    Raises:
        InputError: a name is unknown or its output is not 4-D, or there is no convolution at all.
    """
    if layers:
        return _check(model, layers)
    convolutions = _require(model, _list_maps(model, CONVOLUTIONS))
    if len(convolutions) <= PLAIN_CONVOLUTIONS:
        return convolutions
    full = _list_maps(model, [kind for kind in CONVOLUTIONS if kind != "DepthwiseConv2D"])
    full = [name for name in full if not _is_shortcut(model, name)]
    steps = [round(index * (len(full) - 1) / (N_STAGES - 1)) for index in range(N_STAGES)]
    return list(dict.fromkeys(follow_convolution(model, full[step], through_sums=False) for step in steps))


def choose_grad_cam_layers(model: keras.Model, layers: Sequence[str] | None) -> list[str]:
    """Check the named layers; for None choose an early, a middle and the last convolution.

    Each is followed to its normalisation, activation and residual sum: the rest of the network reads these features.
    Where all convolutions are inside a nested model, choose its output.

    Raises:
        InputError: a name is unknown or its output is not 4-D, or there is no convolution at all.
    """
    if layers:
        return _check(model, layers)
    convolutions = _list_maps(model, CONVOLUTIONS)
    if not convolutions and (nested := list_layers(model, types=("Functional", "Sequential"))):
        return nested[-1:]
    last = len(_require(model, convolutions)) - 1
    chosen = (convolutions[round(share * last)] for share in GRAD_CAM_DEPTHS)
    return list(dict.fromkeys(follow_convolution(model, name) for name in chosen))


def follow_convolution(model: keras.Model, name: str, *, through_sums: bool = True) -> str:
    """Find the last layer that only finishes a convolution: its normalisation, activation or (optionally) residual sum.

    Concatenated branches (Inception) count as a sum. In EfficientNet-Lite, `block_4_project` ends in `block_4_add`.
    """
    layers = list(model.layers)
    place = {layer.name: index for index, layer in enumerate(layers)}
    current = name
    for layer in layers[place[name] + 1 :]:
        inputs = _list_inputs(layer)
        if current not in inputs:
            continue
        kind = type(layer).__name__
        is_last_input = max(inputs, key=lambda name: place.get(name, -1)) == current
        is_sum = through_sums and kind in ("Add", "Concatenate") and is_last_input
        if kind in NORMALISATIONS or is_sum:
            current = layer.name
        if is_sum:
            break
    return current


def choose_examined_layers(model: keras.Model) -> list[str]:
    """Choose the middle one of `choose_grad_cam_layers`, or the pooling right behind it, and the last one.

    Raises:
        InputError: there is no convolution at all.
    """
    *_, last = chosen = choose_grad_cam_layers(model, None)
    pooled = {name: layer.name for layer in model.layers if _is_pooling(layer) for name in _list_inputs(layer)}
    return [*(pooled.get(name, name) for name in chosen[-2:-1]), last]


def _is_pooling(layer: Any) -> bool:
    return type(layer).__name__ in POOLINGS


def _is_shortcut(model: keras.Model, name: str) -> bool:
    """Whether a convolution only carries a block's input past it, to the sum at its end (ResNet, Xception)."""
    inputs = {layer.name: _list_inputs(layer) for layer in model.layers}
    end = follow_convolution(model, name, through_sums=False)
    sums = [layer.name for layer in model.layers if type(layer).__name__ == "Add" and end in inputs[layer.name]]
    readers = [other for other, sources in inputs.items() if set(sources) & set(inputs[name])]
    return bool(sums) and len(readers) > 1


def choose_evenly(n_all: int, n: int) -> list[int]:
    """Choose `n` indices spread evenly over 0..n_all-1, first and last included; all of them if n >= n_all."""
    if n >= n_all:
        return list(range(n_all))
    if n == 1:
        return [0]
    return [round(index * (n_all - 1) / (n - 1)) for index in range(n)]


def name_depths(n_layers: int) -> list[str]:
    """Name layers in order: early, middle, late; by numbers where there are more; "" for a single one."""
    words = {1: [""], 2: ["early", "late"], 3: ["early", "middle", "late"]}
    return words.get(n_layers) or [f"layer {number}" for number in range(1, n_layers + 1)]


def _check(model: keras.Model, layers: Sequence[str]) -> list[str]:
    for name in layers:
        check_layer(model, name)
    return list(dict.fromkeys(layers))


def _list_maps(model: keras.Model, types: Sequence[str]) -> list[str]:
    """List layers of these types but for squeeze-and-excitation's convolutions, which see one pooled pixel."""
    sides = {name: model.get_layer(name).output.shape[1] for name in list_layers(model, types=types)}
    last = list(sides.values())[-1] if sides else None
    return [name for name, side in sides.items() if side is None or last is None or side >= last]


def _require(model: keras.Model, names: list[str]) -> list[str]:
    if not names:
        layers = ", ".join(layer.name for layer in model.layers[:20]) + (", ..." if len(model.layers) > 20 else "")
        raise InputError(f"model {model.name!r} has no convolution in its graph: its layers are {layers}")
    return names


def _suggest(name: str, known: list[str]) -> str:
    """Name the layers nearest in spelling, or all when they are few."""
    if not known:
        return "none of its layers can be shown"
    if len(known) <= 12:
        return f"choose from {', '.join(known)}"
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(near)}? (one of {len(known)})"
    some = [known[index] for index in choose_evenly(len(known), 8)]
    return f"choose from its {len(known)} layers, such as {', '.join(some)}"


def _is_spatial(layer: Any) -> bool:
    output = getattr(layer, "output", None)
    return len(getattr(output, "shape", ())) == 4


def _list_inputs(layer: Any) -> list[str]:
    try:
        tensors = layer.input
    except (AttributeError, ValueError):
        return []
    tensors = tensors if isinstance(tensors, list | tuple) else [tensors]
    return [tensor._keras_history.operation.name for tensor in tensors]
