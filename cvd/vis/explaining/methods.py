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

A new method is a class like those of `explainers` and an entry in METHODS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from cvd.runtime.errors import InputError
from cvd.vis.explaining import cams, explainers
from cvd.vis.explaining.layers import PIXELS, choose_grad_cam_layers, require_channels_last

METHODS: dict[str, type[explainers.Explainer]] = {
    "gradcam": cams.GradCam,
    "gradcam++": cams.GradCamPlusPlus,
    "hirescam": cams.HiResCam,
    "hirescam+": cams.HiResCamPlus,
    "scorecam": explainers.ScoreCam,
    "integrated": explainers.IntegratedGradients,
}
AUTO = "auto"  # stands for the method whose maps add up to the answer
# What a reader of a map must know, under the pictures.
NOTES = {
    "gradcam": "It averages gradients first. Unless global pooling follows, its sums can contradict the answer.",
    "gradcam++": "It counts positive gradients only, so its sums say nothing of the answer.",
    "hirescam": "The sums for and against an answer differ by its logit, but for what biases add behind the layer.",
    "hirescam+": "The sums for and against an answer differ by its logit: each cell takes its part of what biases add.",
    "scorecam": "It weighs channels by the answer to what each lets through. Its sums say nothing of the answer.",
    "integrated": "The sums for and against an answer differ by what the pixels change of a black image's logit.",
}


def explain_images(
    model: keras.Model,
    images: np.ndarray,
    *,
    layer: str | None = None,
    method: str = "auto",
    sign: int | np.ndarray = 1,
    class_index: int | np.ndarray = 0,
) -> np.ndarray:
    """Compute heat maps of a one-logit classifier, or of one class of many.

    Args:
        model: maps images to logits, shape (n, 1); or to (n, classes), logits or softmax.
        images: (n, h, w, 3), uint8 or float32, as the model takes them (the project's models: pixels 0..255).
        layer: name of a layer whose output is (n, h', w', k); None: the last convolution.
        method: one of METHODS, or `auto`, as of `resolve_method`.
        sign: +1 explains what raises the logit, -1 what lowers it; for all images or (n,).
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


def make_explainer(model: keras.Model, layers: Sequence[str], *, method: str = "auto") -> explainers.Explainer:
    """Make an explainer of images by several layers, as of `choose_layers`.

    Raises:
        InputError: the method or a layer is unknown, or its output is not 4-D, or channels come first.
    """
    explainer = METHODS[resolve_method(method)]
    require_channels_last(model)
    return explainer(model, layers)


class Explainers:
    """Several methods at once: those that weigh the same evidence share one pass. Compiled at the first call.

    Args:
        layers: of each method, as of `choose_layers`.

    Raises:
        InputError: as of `make_explainer`.
    """

    def __init__(self, model: keras.Model, layers: Mapping[str, Sequence[str]]) -> None:
        groups: dict[object, list[str]] = {}
        for method in layers:
            groups.setdefault(METHODS[resolve_method(method)].gather, []).append(method)
        self._layers, self._groups = layers, []
        for methods in groups.values():
            union = list(dict.fromkeys(name for method in methods for name in layers[method]))
            self._groups.append({method: make_explainer(model, union, method=method) for method in methods})

    def explain(
        self, images: np.ndarray, signs: Sequence[explainers.Sign]
    ) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """Explain images for s signs: logits (n, classes), and maps (n, s, h', w') by method and layer."""
        by_method: dict[str, dict[str, np.ndarray]] = {}
        for group in self._groups:
            first, *_ = group.values()
            logits, explained = first.explain_alike(list(group.values()), images, signs)
            for method, by_sign in zip(group, explained, strict=True):
                layers = self._layers[method]
                by_method[method] = {name: np.stack([maps[name] for maps in by_sign], axis=1) for name in layers}
        return logits, {method: by_method[method] for method in self._layers}

    def explain_answers(self, images: np.ndarray) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """Explain images as `explain` does, for two signs: the class that the network names, then the other one."""
        logits, maps = self.explain(images, (1, -1))
        return logits, {
            method: {layer: put_answer_first(pair, logits) for layer, pair in by_layer.items()}
            for method, by_layer in maps.items()
        }


def put_answer_first(pairs: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Put the map of the class that the network names first, of pairs (n, 2, h', w') for the second and the first.

    `logits` are (n, 1).
    """
    order = np.where(logits > 0, [0, 1], [1, 0])[..., None, None]  # (n, 2, 1, 1)
    return np.take_along_axis(pairs, order, axis=1)


def choose_layers(model: keras.Model, layers: Sequence[str] | None, *, method: str) -> list[str]:
    """Check the named layers; for None choose an early, a middle and the last convolution; `pixels` without layers.

    Raises:
        InputError: the method is unknown, or takes no layers; a layer is unknown or its output is not 4-D.
    """
    if METHODS[resolve_method(method)].has_layers:
        return choose_grad_cam_layers(model, layers)
    if layers and list(layers) != [PIXELS]:
        raise InputError(f"method {method!r} explains by the pixels, not by layer {layers[0]!r}: leave the layer out")
    return [PIXELS]


def resolve_method(method: str) -> str:
    """Check a method's name; `auto` becomes `hirescam+`.

    Its maps for and against an answer differ by the logit, so they cannot contradict the network. Grad-CAM averages
    gradients first. Behind global average pooling this gives the same map but for a bias; behind Flatten and Dense the
    map of the class that the network denies can outweigh the other.

    Raises:
        InputError: there is no such method.
    """
    if method != AUTO and method not in METHODS:
        raise InputError(f"method is {method!r}: choose from {AUTO}, {', '.join(METHODS)}")
    return "hirescam+" if method == AUTO else method
