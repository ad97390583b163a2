"""Heat maps by any method: where in an image a classifier finds evidence for a class. Arrays in, arrays out.

    import keras
    import numpy as np
    from PIL import Image, ImageOps
    from cvd.vis.explaining.methods import explain_images
    from cvd.vis.sheets.overlays import overlay_heat

    model = keras.applications.MobileNetV2()                  # any Keras classifier with one input, channels last
    upright = ImageOps.exif_transpose(Image.open("photo.jpg"))  # as the phone that took it was held
    photo = np.asarray(upright.convert("RGB"))                # (h, w, 3), uint8
    images = np.asarray(keras.ops.image.resize(photo, (224, 224)))[np.newaxis] / 127.5 - 1  # as it takes them
    maps = explain_images(model, images, method="gradcam++", class_index=281)     # (1, 7, 7): tabby cat
    keras.utils.save_img("seen.png", overlay_heat(photo, maps[0]), scale=False)   # the photo at its own size

A new method is a function like `_from_masks` and an entry in METHODS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np

from cvd.runtime.errors import InputError
from cvd.vis.explaining.gradcam import Evidence, make_differentiator
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
from cvd.vis.explaining.layers import PIXELS, choose_grad_cam_layers, require_channels_last
from cvd.vis.explaining.masking import score_masked
from cvd.vis.explaining.paths import average_gradients
from cvd.vis.explaining.weighing import (
    combine_grad_cam,
    combine_grad_cam_plus_plus,
    combine_hires_cam,
    combine_path,
    combine_score_cam,
)

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]
# What gives the maps of a sign, or of (n,) signs
Maps = Callable[[np.ndarray], np.ndarray]
# (images, class_index) -> Maps of each layer
Source = Callable[[np.ndarray, int | np.ndarray], Mapping[str, Maps]]
# (images, signs, class_index) -> for each sign the maps of each layer
Explain = Callable[..., list[dict[str, np.ndarray]]]
ExplainTop = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Method(NamedTuple):
    """A way to explain.

    Attributes:
        title: its name for people.
        unit: of its maps, "" where they have none to speak of.
        has_layers: whether it explains by the features of layers, or by the pixels themselves.
        make_source: (model, layers) -> what does the work that all signs of a class share.
    """

    title: str
    unit: str
    has_layers: bool
    make_source: Callable[[keras.Model, Sequence[str]], Source]

    def describe(self, place: str) -> str:
        """Its name, and the place in the network that it explains by, unless it explains by the pixels."""
        return f"{self.title} at {place}" if self.has_layers else self.title


def explain_images(
    model: keras.Model,
    images: np.ndarray,
    *,
    layer: str | None = None,
    method: str = "gradcam",
    sign: int | np.ndarray = 1,
    class_index: int | np.ndarray = 0,
) -> np.ndarray:
    """Heat maps of a one-logit classifier, or of one class of many.

    Args:
        model: maps images to logits, shape (n, 1), positive means dog; or to (n, classes), logits or softmax.
        images: (n, h, w, 3), uint8 or float32, as the model takes them (the project's models: pixels 0..255).
        layer: name of a layer whose output is (n, h', w', k); None: the last convolution.
        method: one of METHODS.
        sign: +1 explains what raises the logit ("dog"), -1 what lowers it ("cat"); for all images or (n,).
        class_index: which output of a model with many, for all images or (n,).

    Returns:
        (n, h', w'), float32, >= 0, never NaN, in the method's unit; not normalised, so maps stay comparable. All 0
        where nothing in the layer speaks for the class. Of a method without layers (n, h, w).

    Raises:
        InputError: `layer` is unknown or its output is not 4-D, or another argument does not fit. A ValueError.
    """
    layers = choose_layers(model, None if layer is None else [layer], method=method)[-1:]
    (maps,) = make_explainer(model, layers, method=method)(images, [sign], class_index)
    return maps[layers[0]]


def make_explainer(model: keras.Model, layers: Sequence[str], *, method: str = "gradcam") -> Explain:
    """A function that explains images by several layers, for several signs, at the cost of one.

    It is compiled at its first call: make it once for many calls.

    Args:
        model: as for `explain_images`.
        layers: as of `choose_layers`.
        method: one of METHODS.

    Returns:
        (images, signs, class_index=0) -> for each sign, which is as for `explain_images`, the maps of each layer.

    Raises:
        InputError: the method or a layer is unknown, or its output is not 4-D, or channels come first.
    """
    check_method(method)
    require_channels_last(model)
    source = METHODS[method].make_source(model, layers)

    def explain(
        images: np.ndarray, signs: Sequence[int | np.ndarray] = (1,), class_index: int | np.ndarray = 0
    ) -> list[dict[str, np.ndarray]]:
        checked = [_check_signs(sign) for sign in signs]
        maps = source(images, class_index)
        return [{layer: maps[layer](sign).astype(np.float32) for layer in layers} for sign in checked]

    return explain


def make_top_explainer(
    model: keras.Model, *, layer: str | None = None, top: int, method: str = "gradcam"
) -> ExplainTop:
    """A function that gives a classifier's most probable classes, each with its heat map.

    It is compiled at its first call: make it once for many calls.

    Args:
        model: maps images to (n, classes), logits or softmax.
        layer: name of a layer whose output is (n, h', w', k); None: the last convolution.
        top: how many classes, at least 1; all when there are fewer.
        method: one of METHODS.

    Returns:
        Takes images (n, h, w, 3), uint8 or float32, as the model takes them; gives classes (n, top), probabilities
        (n, top), and maps (n, top, h', w'); most probable first. It raises InputError where the images do not fit.

    Raises:
        InputError: `layer` is unknown or its output is not 4-D.
    """
    (chosen,) = choose_layers(model, None if layer is None else [layer], method=method)[-1:]
    score, explain = make_scorer(model), make_explainer(model, [chosen], method=method)

    def explain_top(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        probabilities = compute_probabilities(score(images))
        classes = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        (found,) = explain(np.repeat(images, classes.shape[1], axis=0), class_index=classes.reshape(-1))
        maps = found[chosen].reshape(*classes.shape, *found[chosen].shape[1:])
        return classes, np.take_along_axis(probabilities, classes, axis=1), maps

    return explain_top


def choose_layers(model: keras.Model, layers: Sequence[str] | None, *, method: str) -> list[str]:
    """The named layers, checked; for None an early, a middle and the last convolution; `pixels` where there is none.

    Raises:
        InputError: the method is unknown, or takes no layers; a layer is unknown or its output is not 4-D.
    """
    check_method(method)
    if METHODS[method].has_layers:
        return choose_grad_cam_layers(model, layers)
    if layers and list(layers) != [PIXELS]:
        raise InputError(f"method {method!r} explains by the pixels, not by layer {layers[0]!r}: leave the layer out")
    return [PIXELS]


def check_method(method: str) -> None:
    """Makes sure that there is such a method.

    Raises:
        InputError: there is none.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}: choose from {', '.join(METHODS)}")


def _check_signs(sign: int | np.ndarray) -> np.ndarray:
    signs = np.asarray(sign, np.float32)
    if not np.isin(signs, (-1, 1)).all():
        raise InputError(f"sign is {sign}: +1 explains dog, -1 explains cat")
    return signs


def _spread(signs: np.ndarray, n_axes: int) -> np.ndarray:
    return signs.reshape(-1, *(1,) * (n_axes - 1))


def _from_gradients(combine: Combine) -> Callable[[keras.Model, Sequence[str]], Source]:
    """What the methods of gradients by activations have in common."""

    def make(model: keras.Model, layers: Sequence[str]) -> Source:
        differentiate = make_differentiator(model, layers)

        def weigh(found: Evidence) -> Maps:
            return lambda signs: combine(found.activations, found.gradients * _spread(signs, 4))

        return lambda images, class_index: {
            layer: weigh(found) for layer, found in differentiate(images, class_index)[1].items()
        }

    return make


def _from_masks(model: keras.Model, layers: Sequence[str]) -> Source:
    def weigh(activations: np.ndarray, found: np.ndarray) -> Maps:
        return lambda signs: combine_score_cam(activations, np.where(_spread(signs, 2) > 0, found, 1 - found))

    return lambda images, class_index: {
        layer: weigh(*score_masked(model, images, layer=layer, class_index=class_index)) for layer in layers
    }


def _from_paths(model: keras.Model, layers: Sequence[str]) -> Source:
    def explain(images: np.ndarray, class_index: int | np.ndarray) -> Mapping[str, Maps]:
        differences, gradients = average_gradients(model, images, class_index=class_index)
        return {PIXELS: lambda signs: combine_path(differences, gradients * _spread(signs, 4))}

    return explain


METHODS: dict[str, Method] = {
    "gradcam": Method("Grad-CAM", "logits", True, _from_gradients(combine_grad_cam)),
    "gradcam++": Method("Grad-CAM++", "", True, _from_gradients(combine_grad_cam_plus_plus)),
    "hirescam": Method("HiResCAM", "logits", True, _from_gradients(combine_hires_cam)),
    "scorecam": Method("Score-CAM", "", True, _from_masks),
    "integrated": Method("Integrated gradients", "logits", False, _from_paths),
}
