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

from collections.abc import Callable, Sequence

import keras
import numpy as np

from cvd.runtime.errors import InputError
from cvd.vis.explaining import explainers
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
from cvd.vis.explaining.layers import PIXELS, choose_grad_cam_layers, require_channels_last

METHODS: dict[str, type[explainers.Explainer]] = {
    "gradcam": explainers.GradCam,
    "gradcam++": explainers.GradCamPlusPlus,
    "hirescam": explainers.HiResCam,
    "scorecam": explainers.ScoreCam,
    "integrated": explainers.IntegratedGradients,
}
ExplainTop = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


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
    """Make an explainer of images by several layers.

    Args:
        model: as for `explain_images`.
        layers: as of `choose_layers`.
        method: one of METHODS.

    Raises:
        InputError: the method or a layer is unknown, or its output is not 4-D, or channels come first.
    """
    explainer = find_method(method)
    require_channels_last(model)
    return explainer(model, layers)


def make_top_explainer(
    model: keras.Model, *, layer: str | None = None, top: int, method: str = "gradcam"
) -> ExplainTop:
    """Make a function that gives a classifier's most probable classes, each with its heat map.

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
        probabilities = compute_probabilities(score(images))  # (n, classes)
        classes = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        # Each image once for each of its classes: (n * top, h, w, 3).
        (maps,) = explain(np.repeat(images, classes.shape[1], axis=0), class_index=classes.reshape(-1))
        by_class = maps[chosen].reshape(*classes.shape, *maps[chosen].shape[1:])
        return classes, np.take_along_axis(probabilities, classes, axis=1), by_class

    return explain_top


def choose_layers(model: keras.Model, layers: Sequence[str] | None, *, method: str) -> list[str]:
    """Check the named layers; for None choose an early, a middle and the last convolution; `pixels` without layers.

    Raises:
        InputError: the method is unknown, or takes no layers; a layer is unknown or its output is not 4-D.
    """
    if find_method(method).has_layers:
        return choose_grad_cam_layers(model, layers)
    if layers and list(layers) != [PIXELS]:
        raise InputError(f"method {method!r} explains by the pixels, not by layer {layers[0]!r}: leave the layer out")
    return [PIXELS]


def find_method(method: str) -> type[explainers.Explainer]:
    """Look a method up.

    Raises:
        InputError: there is none of this name.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}: choose from {', '.join(METHODS)}")
    return METHODS[method]
