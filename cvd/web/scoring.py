"""A network behind MLflow's `python_function`: images as bytes, base64 or pixels in; label and probability out.

A logged model carries this module and what it imports (cvd/tracking/model.py): it is served without the project.
"""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cvd.data.archives.formats import RefusedError
from cvd.data.images.pixels import limit_opencv_threads, resize_image
from cvd.data.intake.photos import decode_photo
from cvd.runtime.errors import InputError


class Scorer:
    """Answers for images of any size: `label`, `probability` of the second class, `logit`."""

    def __init__(self, network: Any, classes: tuple[str, str]) -> None:
        import tensorflow as tf

        self.classes, self._side_px = classes, network.input_shape[1]
        limit_opencv_threads()
        self._answer = tf.function(
            lambda images: network(images, training=False),
            input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)],
            jit_compile=False,
        )
        self.predict(np.zeros((1, *network.input_shape[1:]), np.float32))  # the first call is slow

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer for images, a row each.

        `images` is an array (n, h, w, 3) of RGB pixels 0..255, or a list, array or one-column table of images: each an
        image file's bytes, these in base64, or pixels (h, w, 3).

        Raises:
            InputError: one of them is no image; it says which.
        """
        pixels = [self._read(number, image) for number, image in enumerate(_list_images(images), 1)]
        if not pixels:
            raise InputError("there is no image: give at least one, as base64 or pixels")
        logits = self._answer(np.stack(pixels)).numpy().reshape(-1).astype(float)  # (n, 1) to (n,)
        probabilities = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
        labels = [self.classes[int(logit > 0)] for logit in logits]
        return pd.DataFrame({"label": labels, "probability": probabilities, "logit": logits})

    def _read(self, number: int, image: Any) -> np.ndarray:
        """Read an image to (side, side, 3) float32."""
        try:
            if isinstance(image, str):
                image = base64.b64decode(image.partition("base64,")[2] or image, validate=True)
            pixels = decode_photo(bytes(image)) if isinstance(image, bytes | bytearray) else np.asarray(image)
            if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or pixels.dtype.kind not in "uif":
                raise ValueError(f"it is {pixels.dtype} of shape {pixels.shape}, not RGB pixels (h, w, 3)")
        except (RefusedError, InputError, ValueError) as error:
            raise InputError(f"image {number} cannot be read: {error}") from error
        kind = np.uint8 if pixels.dtype == np.uint8 else np.float32
        return np.asarray(resize_image(pixels.astype(kind), self._side_px), np.float32)


def _list_images(images: Any) -> Iterable[Any]:
    """List what was given, in one of the shapes in which MLflow hands on a request."""
    if isinstance(images, dict):
        images = pd.DataFrame(images)
    if isinstance(images, pd.DataFrame):
        if images.shape[1] != 1:
            raise InputError(f"the table has the columns {', '.join(map(str, images.columns))}: give one, `image`")
        return list(images.iloc[:, 0])
    if isinstance(images, np.ndarray) and images.dtype.kind in "OSU":
        return list(images.reshape(-1))
    return list(images)


def _load_pyfunc(path: str) -> Scorer:
    """Load the model from the folder `data` of a logged model; MLflow calls this."""
    import keras

    classes = json.loads(Path(path, "classes.json").read_text(encoding="utf-8"))
    return Scorer(keras.models.load_model(Path(path, "model.keras"), compile=False), tuple(classes))
