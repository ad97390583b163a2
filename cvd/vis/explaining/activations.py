"""What the layers of a network answer to an image."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from cvd.vis.explaining.graphs import check_images, cut_model


def compute_activations(
    model: keras.Model, images: np.ndarray, *, layers: Sequence[str], batch_size: int = 16
) -> dict[str, np.ndarray]:
    """Outputs of layers for images, all layers in one forward pass.

    Args:
        model: any Keras model with one input of pixels (Chollet, Deep Learning with Python, 2017, listing 5.27).
        images: (n, h, w, 3), uint8 or float32, pixels 0..255, of the size that the model takes.
        layers: names of layers whose output is (n, h', w', k).
        batch_size: images per pass, at least 1.

    Returns:
        For each layer, in the order given, (n, h', w', k), float32.

    Raises:
        InputError: a layer is unknown or its output is not 4-D, or the images do not fit the model.
    """
    cut = cut_model(model, layers)
    pixels = check_images(model, images)
    # Keras gives a list of outputs, but a bare tensor where there is only one.
    batches = [
        keras.tree.flatten(cut(pixels[start : start + batch_size], training=False))
        for start in range(0, len(pixels), batch_size)
    ]
    return {
        name: np.concatenate([np.asarray(batch[index], np.float32) for batch in batches])
        for index, name in enumerate(layers)
    }
