"""EfficientNet-Lite as a flat graph that takes pixels, with its 1,000 classes, and its values from PyTorch's file.

EfficientNet (Tan and Le 2019, arXiv:1905.11946) as Google made it for small processors in 2020: ReLU6, no
squeeze-and-excitation, and a stem, a head and outer stages that are not scaled. Padding is TensorFlow's "same", which
Keras has at every side.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import numpy as np

from cvd.runtime.errors import InputError

N_CLASSES = 1000


class Stage(NamedTuple):
    """Inverted residual blocks of one resolution, of which the first has the stride."""

    kernel_size: int
    stride: int
    expansion: int
    filters: int
    repeats: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
SCALES = {"EfficientNetLite0": (1.0, 1.0), "EfficientNetLite1": (1.0, 1.1), "EfficientNetLite2": (1.1, 1.2)}
N_STEM, N_HEAD = 32, 1280
# Layers of this graph, of a block or outside of them, and their names in the file.
_IN_BLOCK = {
    "expand": "_expand_conv",
    "expand_BN": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_BN": "_bn1",
    "project": "_project_conv",
    "project_BN": "_bn2",
}
_OUTSIDE = {"stem": "_conv_stem", "stem_BN": "_bn0", "head": "_conv_head", "head_BN": "_bn1", "classes": "_fc"}


def build_lite(name: str, size_px: int, *, has_head: bool) -> keras.Model:
    """Build a network: `pixels`, `preprocessing`, `stem`, `block_0_...`, `head`, `features` and, if asked, `classes`.

    Values are drawn at random. `name` is a key of `SCALES`: how many times wider and deeper than `STAGES` it is. Of
    names joined by `+` all networks read the same pixels. Their layers are called `lite0_stem` and so on, their last
    maps are joined in `heads`, and `features` are those of all.
    """
    pixels = keras.Input((size_px, size_px, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 128, -127 / 128, name="preprocessing")(pixels)
    maps = [_add_trunk(x, part, prefix) for part, prefix in name_parts(name).items()]  # (n, s / 32, s / 32, 1280) each
    x = maps[0] if len(maps) == 1 else keras.layers.Concatenate(name="heads")(maps)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    if has_head:
        x = keras.layers.Dense(N_CLASSES, name="classes")(x)
    return keras.Model(pixels, x, name=f"{name.lower().replace('+', '_')}_{size_px}")


def is_lite(name: str) -> bool:
    """Tell whether this names an EfficientNet-Lite, or several joined by `+`."""
    return all(part in SCALES for part in name.split("+"))


def name_parts(name: str) -> dict[str, str]:
    """Name the networks of a backbone, each with what the names of its layers begin with."""
    parts = name.split("+")
    return {part: f"{part.removeprefix('EfficientNet').lower()}_" if len(parts) > 1 else "" for part in parts}


def join_parts(model: keras.Model, parts: Mapping[str, keras.Model]) -> None:
    """Put networks of their own, by their prefixes, into the graph of all; its classes are the mean of theirs."""
    for prefix, part in parts.items():
        for layer in part.layers:
            if layer.weights and layer.name != "classes":
                model.get_layer(prefix + layer.name).set_weights(layer.get_weights())
    kernels, biases = zip(*(part.get_layer("classes").get_weights() for part in parts.values()), strict=True)
    # On joined features (n, 1280 m) stacked kernels give the sum of the m networks' logits; over m, their mean.
    model.get_layer("classes").set_weights([np.concatenate(kernels) / len(parts), np.mean(biases, axis=0)])


def _add_trunk(x: keras.KerasTensor, name: str, prefix: str) -> keras.KerasTensor:
    width, depth = SCALES[name]
    x = _convolve(x, N_STEM, f"{prefix}stem", kernel_size=3, stride=2)  # (n, s / 2, s / 2, 32)
    number = 0
    for stage in STAGES:
        is_outer = stage in (STAGES[0], STAGES[-1])
        for repeat in range(stage.repeats if is_outer else math.ceil(stage.repeats * depth)):
            stride, filters = 1 if repeat else stage.stride, round_filters(stage.filters * width)
            x = _add_block(x, stage, f"{prefix}block_{number}", stride=stride, filters=filters)
            number += 1
    return _convolve(x, N_HEAD, f"{prefix}head", kernel_size=1)


def convert_torch(model: keras.Model, tensors: dict[str, np.ndarray], *, source: str) -> None:
    """Put the state dict of an EfficientNet-Lite in PyTorch into the graph of `build_lite`.

    `source` names the tensors in messages.

    Raises:
        InputError: a tensor is missing, of another shape, or belongs nowhere.
    """
    used = set()
    for layer in [layer for layer in model.layers if layer.weights]:
        values = []
        for part, convert in _list_parts(layer):
            key = f"{_name_module(layer.name)}.{part}"
            if key not in tensors:
                raise InputError(f"weights {source} have no tensor {key}: they do not fit {model.name}")
            values.append(convert(tensors[key]))
            used.add(key)
        shapes, expected = [value.shape for value in values], [tuple(weight.shape) for weight in layer.weights]
        if shapes != expected:
            raise InputError(f"weights {source}: {layer.name} has shapes {shapes} in Keras' order, expected {expected}")
        layer.set_weights(values)
    extra = [key for key in tensors if key not in used and not key.endswith(".num_batches_tracked")]
    if extra:
        raise InputError(f"weights {source} hold {extra[0]}, which {model.name} has not")


def round_filters(filters: float) -> int:
    """Round a number of filters to a multiple of eight, by at most a tenth down."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8


def _add_block(x: keras.KerasTensor, stage: Stage, name: str, *, stride: int, filters: int) -> keras.KerasTensor:
    """Add an inverted residual: widen by a 1x1 convolution, filter each channel, narrow; add the input if it fits."""
    before, n_channels = x, x.shape[-1]
    if stage.expansion > 1:
        x = _convolve(x, n_channels * stage.expansion, f"{name}_expand", kernel_size=1)
    x = keras.layers.DepthwiseConv2D(
        stage.kernel_size, stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _finish(x, f"{name}_depthwise")
    x = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(x)
    x = keras.layers.BatchNormalization(name=f"{name}_project_BN")(x)
    return keras.layers.Add(name=f"{name}_add")([before, x]) if stride == 1 and n_channels == filters else x


def _convolve(x: keras.KerasTensor, filters: int, name: str, *, kernel_size: int, stride: int = 1) -> keras.KerasTensor:
    return _finish(
        keras.layers.Conv2D(filters, kernel_size, stride, padding="same", use_bias=False, name=name)(x), name
    )


def _finish(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(name=f"{name}_BN")(x)  # epsilon 1e-3, Keras' own
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def _name_module(layer_name: str) -> str:
    """Name the layer as the file does."""
    block = re.match(r"block_(\d+)_(\w+)", layer_name)
    return f"_blocks.{block[1]}.{_IN_BLOCK[block[2]]}" if block else _OUTSIDE[layer_name]


def _list_parts(layer: keras.Layer) -> list[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """List PyTorch's names of a layer's values, in Keras' order, and how each is transposed."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [(name, np.asarray) for name in ("weight", "bias", "running_mean", "running_var")]
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # (c, 1, h, w) -> (h, w, c, 1)
        return [("weight", lambda tensor: tensor.transpose(2, 3, 0, 1))]
    if isinstance(layer, keras.layers.Dense):
        return [("weight", lambda tensor: tensor.transpose(1, 0)), ("bias", np.asarray)]
    return [("weight", lambda tensor: tensor.transpose(2, 3, 1, 0))]  # (out, in, h, w) -> (h, w, in, out)
