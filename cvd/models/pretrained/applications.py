"""`keras.applications` as flat graphs that take pixels, and Keras' own files of weights."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from cvd.runtime.errors import InputError

N_CLASSES = 1000
SMALLEST_PX = {"MobileNetV2": 32, "VGG16": 32, "InceptionV3": 75, "Xception": 71}
VGG_HEAD_PX = 224  # VGG16's head flattens, so it fits this side alone
# How a network's pixels are scaled (keras.applications.imagenet_utils); "torch" is torchvision's way.
MODES = {"MobileNetV2": "tf", "VGG16": "caffe", "InceptionV3": "tf", "Xception": "tf"}
_SCALES: dict[str, tuple[list[float] | float, list[float] | float]] = {  # pixels * scale + offset, RGB
    "torch": ([1 / (255 * s) for s in (0.229, 0.224, 0.225)], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]),
    "caffe": (1.0, [-123.68, -116.779, -103.939]),
    "tf": (1 / 127.5, -1.0),
}
_TORCH_EPSILON = 1e-5  # of BatchNorm; Keras' MobileNetV2 has 1e-3
_TIMEOUT_S = 60.0


def build_graph(name: str, size_px: int, *, mode: str, has_head: bool) -> keras.Model:
    """Build a network as one flat graph: `pixels`, `preprocessing`, its layers, `features` and, if asked, `classes`.

    Values are drawn at random. Layers' names do not depend on what else the process has built. `name` is a key of
    `MODES`. `mode` is `tf`, `caffe` (without its turn to BGR: see `flip_first_kernel`) or `torch`. The last also pads
    and normalises as PyTorch does. Strided convolutions get one pixel on every side, and BatchNorm's epsilon is 1e-5.
    """
    scale, offset = _SCALES[mode]
    pixels = keras.Input((size_px, size_px, 3), name="pixels")
    x = keras.layers.Rescaling(scale, offset, name="preprocessing")(pixels)
    if mode == "torch":
        x = keras.layers.ZeroPadding2D(1, name="Conv1_pad")(x)
    network = getattr(keras.applications, name)(weights=None, include_top=False, input_tensor=x)
    features = keras.layers.GlobalAveragePooling2D(name="features")(network.output)
    outputs = features
    if has_head and name == "VGG16":
        y = keras.layers.Flatten(name="flatten")(network.output)
        y = keras.layers.Dense(4096, activation="relu", name="fc1")(y)
        y = keras.layers.Dense(4096, activation="relu", name="fc2")(y)
        outputs = [keras.layers.Dense(N_CLASSES, name="classes")(y), features]
    elif has_head:
        outputs = keras.layers.Dense(N_CLASSES, name="classes")(features)
    counts: dict[str, int] = {}
    return keras.models.clone_model(
        keras.Model(pixels, outputs, name=f"{name.lower()}_{size_px}"),
        clone_function=lambda layer: _clone_layer(layer, counts, is_torch=mode == "torch"),
    )


def load_application(name: str, weights: str) -> keras.Model:
    """Load Keras' own network with its values, with the 1,000-class head if the file has it."""
    application = getattr(keras.applications, name)
    if weights == "imagenet":
        try:
            with _limit_waiting():
                return application(weights="imagenet", classifier_activation=None)
        except Exception as error:  # get_file raises a bare Exception
            raise InputError(
                f"backbone.weights imagenet: Keras could not fetch {name}'s weights: {' '.join(str(error).split())}; "
                "check the network, or set backbone.weights to the path of Keras' .h5 file, "
                "to torchvision (MobileNetV2), or to random"
            ) from error
    if not Path(weights).is_file():
        raise InputError(f"backbone.weights is {weights!r}: there is no such file")
    reasons = []
    for include_top in (True, False):
        shape = {} if include_top else {"input_shape": (224, 224, 3)}
        model = application(weights=None, include_top=include_top, classifier_activation=None, **shape)
        try:
            model.load_weights(weights)
            return model
        except Exception as error:  # a foreign file fails in many ways
            reasons.append(" ".join(str(error).split())[:160])
    raise InputError(
        f"backbone.weights {weights!r} do not fit {name}: with its head, {reasons[0]}; without it, {reasons[1]}"
    )


@contextmanager
def _limit_waiting() -> Iterator[None]:
    """Let a download fail that gets no answer; urllib waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _clone_layer(layer: Any, counts: dict[str, int], *, is_torch: bool) -> Any:
    """Copy a layer, named by this network alone; for PyTorch's weights with PyTorch's padding and epsilon."""
    config = layer.get_config()
    kind = re.sub(r"_\d+$", "", layer.name)
    if kind.replace("_", "") == type(layer).__name__.lower():  # made up by Keras from a counter of the whole process
        number = counts[kind] = counts.get(kind, -1) + 1
        config["name"] = f"{kind}_{number}" if number else kind
    if is_torch and isinstance(layer, keras.layers.ZeroPadding2D):
        config["padding"] = 1
    if is_torch and layer.name == "Conv1":
        config["padding"] = "valid"
    if is_torch and isinstance(layer, keras.layers.BatchNormalization):
        config["epsilon"] = _TORCH_EPSILON
    return type(layer).from_config(config)
