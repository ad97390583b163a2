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
from cvd.vis.explaining import explainers
from cvd.vis.explaining.layers import PIXELS, choose_grad_cam_layers, require_channels_last

METHODS: dict[str, type[explainers.Explainer]] = {
    "gradcam": explainers.GradCam,
    "gradcam++": explainers.GradCamPlusPlus,
    "hirescam": explainers.HiResCam,
    "scorecam": explainers.ScoreCam,
    "integrated": explainers.IntegratedGradients,
}


def explain_images(
    model: keras.Model,
    images: np.ndarray,
    *,
    layer: str | None = None,
    method: str = "gradcam",
    sign: int | np.ndarray = 1,
    class_index: int | np.ndarray = 0,
) -> np.ndarray:
    """Compute heat maps of a one-logit classifier, or of one class of many.

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


def make_explainer(model: keras.Model, layers: Sequence[str], *, method: str = "gradcam") -> explainers.Explainer:
    """Make an explainer of images by several layers, as of `choose_layers`.

    Raises:
        InputError: the method or a layer is unknown, or its output is not 4-D, or channels come first.
    """
    explainer = _find_method(method)
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
            groups.setdefault(_find_method(method).gather, []).append(method)
        self._layers, self._groups = layers, []
        for methods in groups.values():
            union = list(dict.fromkeys(name for method in methods for name in layers[method]))
            self._groups.append({method: make_explainer(model, union, method=method) for method in methods})

    def explain(
        self, images: np.ndarray, sign: explainers.Sign = None
    ) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """Explain images for one sign: logits (n, classes), and maps (n, h', w') by method and layer."""
        by_method: dict[str, dict[str, np.ndarray]] = {}
        for group in self._groups:
            first, *_ = group.values()
            logits, explained = first.explain_alike(list(group.values()), images, [sign])
            for method, (maps,) in zip(group, explained, strict=True):
                by_method[method] = {name: maps[name] for name in self._layers[method]}
        return logits, {method: by_method[method] for method in self._layers}


def choose_layers(model: keras.Model, layers: Sequence[str] | None, *, method: str) -> list[str]:
    """Check the named layers; for None choose an early, a middle and the last convolution; `pixels` without layers.

    Raises:
        InputError: the method is unknown, or takes no layers; a layer is unknown or its output is not 4-D.
    """
    if _find_method(method).has_layers:
        return choose_grad_cam_layers(model, layers)
    if layers and list(layers) != [PIXELS]:
        raise InputError(f"method {method!r} explains by the pixels, not by layer {layers[0]!r}: leave the layer out")
    return [PIXELS]


def _find_method(method: str) -> type[explainers.Explainer]:
    if method not in METHODS:
        raise InputError(f"method is {method!r}: choose from {', '.join(METHODS)}")
    return METHODS[method]
