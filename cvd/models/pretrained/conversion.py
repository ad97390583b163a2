"""Pretrained values put into a Keras network: PyTorch's MobileNetV2, and Keras' own files."""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from cvd.runtime.errors import InputError

HEAD = "classifier.1"  # torchvision's name of the 1,000-class layer


def convert_torch(model: keras.Model, tensors: dict[str, np.ndarray], *, source: str) -> None:
    """Put torchvision's state dict of MobileNetV2 into Keras' network, whose BatchNorm epsilon is 1e-5.

    A head in `tensors` is ignored when `model` has no layer `classes`. `source` names the tensors in messages.

    Raises:
        InputError: a tensor is missing, of another shape, or belongs nowhere.
    """
    used = set()
    for layer_name, torch_name in _pair_layers():
        if layer_name == "classes" and "classes" not in {layer.name for layer in model.layers}:
            used |= {f"{HEAD}.weight", f"{HEAD}.bias"}
            continue
        layer = model.get_layer(layer_name)
        values = []
        for name, convert in _pair_values(layer):
            key = f"{torch_name}.{name}"
            if key not in tensors:
                raise InputError(f"weights {source} have no tensor {key}: they are not torchvision's MobileNetV2")
            values.append(convert(tensors[key]))
            used.add(key)
        expected = [tuple(weight.shape) for weight in layer.weights]
        if [value.shape for value in values] != expected:
            shapes = [value.shape for value in values]
            raise InputError(f"weights {source}: {torch_name} has shapes {shapes} in Keras' order, expected {expected}")
        layer.set_weights(values)
    extra = [key for key in tensors if key not in used and not key.endswith(".num_batches_tracked")]
    if extra:
        raise InputError(f"weights {source} hold {extra[0]}, which torchvision's MobileNetV2 has not")


def copy_weights(model: keras.Model, source: keras.Model) -> None:
    """Copy the values of Keras' own network, layer by layer in order, into the flat graph made from it.

    Keras' networks in "caffe" mode take BGR, the flat graph RGB: `flip_first_kernel` goes with it.
    """
    targets = [layer for layer in model.layers if layer.weights]
    sources = [layer for layer in source.layers if layer.weights]
    for target, layer in zip(targets, sources, strict=True):
        target.set_weights(layer.get_weights())


def flip_first_kernel(model: keras.Model) -> None:
    """Turn the first convolution from BGR to RGB input: the same function of a picture."""
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    kernel, *rest = layer.get_weights()  # (h, w, 3, filters)
    layer.set_weights([kernel[:, :, ::-1], *rest])


def _pair_layers() -> Iterator[tuple[str, str]]:
    """Yield Keras' name and torchvision's name of every layer with weights."""
    yield from (("Conv1", "features.0.0"), ("bn_Conv1", "features.0.1"))
    for block in range(17):
        keras_name = f"block_{block}" if block else "expanded_conv"
        torch_name = f"features.{block + 1}.conv"
        steps = ["expand"] if block else []
        for index, step in enumerate([*steps, "depthwise"]):
            yield f"{keras_name}_{step}", f"{torch_name}.{index}.0"
            yield f"{keras_name}_{step}_BN", f"{torch_name}.{index}.1"
        yield f"{keras_name}_project", f"{torch_name}.{len(steps) + 1}"
        yield f"{keras_name}_project_BN", f"{torch_name}.{len(steps) + 2}"
    yield from (("Conv_1", "features.18.0"), ("Conv_1_bn", "features.18.1"), ("classes", HEAD))


def _pair_values(layer: keras.Layer) -> list[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """List PyTorch's names of a layer's values, in Keras' order, and how each is transposed."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [(name, np.asarray) for name in ("weight", "bias", "running_mean", "running_var")]
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # (c, 1, h, w) -> (h, w, c, 1)
        return [("weight", lambda tensor: tensor.transpose(2, 3, 0, 1))]
    if isinstance(layer, keras.layers.Dense):
        return [("weight", lambda tensor: tensor.transpose(1, 0)), ("bias", np.asarray)]
    return [("weight", lambda tensor: tensor.transpose(2, 3, 1, 0))]  # (out, in, h, w) -> (h, w, in, out)
