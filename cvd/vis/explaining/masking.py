"""What a classifier says of an image through masks: what Score-CAM is made from."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cvd.vis.explaining.activations import compute_activations
from cvd.vis.explaining.graphs import check_classes, check_images, compute_probabilities, make_scorer
from cvd.vis.explaining.weighing import scale_masks


def score_masked(
    model: keras.Model,
    images: np.ndarray,
    *,
    layer: str,
    class_index: int | np.ndarray = 0,
    batch_size: int = 32,
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of a class for an image masked by each channel of a layer (Wang et al. 2020, eqs. 3-6).

    A channel's activations, enlarged to the image (bilinear, whole map on whole image) and stretched to 0..1, are
    multiplied by the pixels: what the channel does not answer to goes black. One pass forward for each channel.

    Args:
        model: any Keras classifier with one input; a final softmax or sigmoid is left out.
        images: (n, h, w, 3), uint8 or float32, pixels 0..255, of the size that the model takes.
        layer: name of a layer whose output is (n, h', w', k).
        class_index: which of the model's outputs, for all images or (n,).
        batch_size: masked images per pass, at least 1.

    Returns:
        Activations (n, h', w', k), and probabilities (n, k), float32; of the one logit: its sigmoid.

    Raises:
        InputError: the layer is unknown or its output is not 4-D, images or class do not fit the model.
    """
    activations = compute_activations(model, images, layers=[layer])[layer]
    pixels = check_images(model, images)
    classes = check_classes(model, class_index, len(pixels))
    score = make_scorer(model)
    probabilities = np.empty((len(pixels), activations.shape[-1]), np.float32)
    for index, (image, class_of) in enumerate(zip(pixels, classes, strict=True)):
        for start in range(0, activations.shape[-1], batch_size):
            some = np.moveaxis(activations[index, ..., start : start + batch_size], -1, 0)
            large = tf.image.resize(some[..., None], image.shape[:2]).numpy()[..., 0]
            masked = image[None] * scale_masks(large)[..., None]
            probabilities[index, start : start + batch_size] = compute_probabilities(score(masked))[:, class_of]
    return activations, probabilities
