"""Five ways to explain a classifier: what each gathers from the network, and how it weighs it into maps.

The network runs once for all layers and all signs, and leaves its logits and two arrays of each layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from cvd.runtime.errors import InputError
from cvd.vis.explaining import graphs, weighing
from cvd.vis.explaining.layers import PIXELS, find_output

# What a map is made of, and what that is worth to the class: activations and gradients, for instance.
Evidence = tuple[np.ndarray, np.ndarray]
# Which class a map explains: +1 or -1, for all images or (n,); None: of each image the one that its logit names.
Sign = int | np.ndarray | None


class Explainer(ABC):
    """A classifier, some of its layers, and a way to explain it. Compiled at its first call: make it once for many."""

    title: ClassVar[str]
    unit: ClassVar[str] = ""  # of its maps; "": none to speak of
    has_layers: ClassVar[bool] = True  # False: it explains by the pixels themselves

    def __init__(self, model: keras.Model, layers: Sequence[str], *, batch_size: int = 16) -> None:
        self.model, self.layers, self.batch_size = model, list(layers), batch_size

    @classmethod
    def describe(cls, place: str) -> str:
        """Name the method, and the place in the network that it explains by, unless it explains by the pixels."""
        return f"{cls.title} at {place}" if cls.has_layers else cls.title

    @abstractmethod
    def gather(self, pixels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, Mapping[str, Evidence]]:
        """Run the network on a batch (b, h, w, 3), float32, for classes (b,): logits (b, c), each layer's evidence."""

    def weigh(self, evidence: Evidence, signs: np.ndarray) -> np.ndarray:
        """Weigh evidence for the signs (b,) into maps (b, h', w'), >= 0."""
        features, gradients = evidence
        # Of a single logit, the other class has the opposite gradients.
        return self.combine(features, gradients * signs.reshape(-1, 1, 1, 1))

    @staticmethod
    @abstractmethod
    def combine(features: np.ndarray, worth: np.ndarray, /) -> np.ndarray:
        """Combine the two arrays of a layer into maps (b, h', w'), >= 0: the method's formula, of `weighing`."""

    def __call__(
        self, images: np.ndarray, signs: Sequence[Sign] = (1,), class_index: int | np.ndarray = 0
    ) -> list[dict[str, np.ndarray]]:
        """Explain images as `explain` does, without the logits."""
        return self.explain(images, signs, class_index)[1]

    def explain(
        self, images: np.ndarray, signs: Sequence[Sign], class_index: int | np.ndarray = 0
    ) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
        """Explain images by all layers, for several signs at the cost of one; arguments as for `explain_images`.

        Returns:
            Logits (n, classes), float32, and for each sign the maps of each layer, (n, h', w'), float32.

        Raises:
            InputError: images, signs or class do not fit.
        """
        logits, (maps,) = self.explain_alike([self], images, signs, class_index)
        return logits, maps

    def explain_alike(
        self,
        explainers: Sequence[Explainer],
        images: np.ndarray,
        signs: Sequence[Sign],
        class_index: int | np.ndarray = 0,
    ) -> tuple[np.ndarray, list[list[dict[str, np.ndarray]]]]:
        """Explain images as `explain` does, by each explainer: all have this one's layers and weigh its evidence."""
        pixels = graphs.check_images(self.model, images)
        classes = graphs.check_classes(self.model, class_index, len(pixels))
        checked = [_check_signs(sign, len(pixels)) for sign in signs]
        # Batch by batch, so that the evidence of few images is in memory; then one row for each sign and explainer.
        scores, rows = [], []
        for first in range(0, len(pixels), self.batch_size):
            batch = slice(first, first + self.batch_size)
            logits, evidence = self.gather(pixels[batch], classes[batch])
            resolved = [np.where(logits[:, 0] > 0, 1, -1) if sign is None else sign[batch] for sign in checked]
            scores.append(logits)
            rows.append(
                [
                    {name: explainer.weigh(evidence[name], sign).astype(np.float32) for name in self.layers}
                    for sign in resolved
                    for explainer in explainers
                ]
            )
        parts = zip(*rows, strict=True)
        merged = [{name: np.concatenate([maps[name] for maps in part]) for name in self.layers} for part in parts]
        return np.concatenate(scores), [merged[k :: len(explainers)] for k in range(len(explainers))]


class GradientExplainer(Explainer):
    """What Grad-CAM, Grad-CAM++ and HiResCAM share: activations A of layers, and the logit's gradients by them."""

    def __init__(self, model: keras.Model, layers: Sequence[str], *, batch_size: int = 16) -> None:
        super().__init__(model, layers, batch_size=batch_size)
        # From pixels to the logits and to the activations of all layers.
        outputs = [graphs.linearise_output(model), *(find_output(model, name) for name in layers)]
        self._network = keras.Model(model.inputs[0], outputs)
        # As one graph TensorFlow fuses convolutions with what follows them: four times as fast as one by one.
        signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32), tf.TensorSpec([None], tf.int64)]
        self._differentiate = tf.function(self._differentiate_batch, input_signature=signature)

    def _differentiate_batch(
        self, batch: tf.Tensor, classes: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)  # (n, h, w, 3)
            # Logits (n, classes), and of each layer A (n, h', w', k).
            logits, *activations = self._network(batch, training=False)
            # Of each image the logit of its class: (n,).
            chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
        # d logit / d A of each layer, (n, h', w', k); 0 where the logit does not depend on the layer.
        gradients = tape.gradient(chosen, activations, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return logits, activations, gradients

    def gather(self, pixels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, dict[str, Evidence]]:
        """Logits, and activations and gradients of each layer, (b, h', w', k) each, in one pass forward and back."""
        logits, activations, gradients = self._differentiate(tf.constant(pixels), tf.constant(classes))
        rows = zip(self.layers, activations, gradients, strict=True)
        return logits.numpy(), {name: (values.numpy(), slopes.numpy()) for name, values, slopes in rows}


class GradCam(GradientExplainer):
    """Grad-CAM: relu(sum_k w_k A_k), w_k = mean_ij(d logit / d A_ijk).

    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2017, eqs. 1-2.
    """

    title, unit, combine = "Grad-CAM", "logits", staticmethod(weighing.combine_grad_cam)


class GradCamPlusPlus(GradientExplainer):
    """Grad-CAM++: relu(sum_k w_k A_k), w_k = sum_ij(a_ijk relu(g_ijk)), a = g^2 / (2 g^2 + sum_ij(A) g^3).

    g is d logit / d A. Chattopadhay et al., Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
    Convolutional Networks, 2018, eqs. 10-19.
    """

    title, combine = "Grad-CAM++", staticmethod(weighing.combine_grad_cam_plus_plus)


class HiResCam(GradientExplainer):
    """HiResCAM: relu(sum_k A_ijk d logit / d A_ijk) at each position ij.

    Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks,
    2020, eq. 3.
    """

    title, unit, combine = "HiResCAM", "logits", staticmethod(weighing.combine_hires_cam)


class ScoreCam(Explainer):
    """Score-CAM: relu(sum_k p_k A_k), p_k the probability of the class for the image masked by A_k.

    Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, 2020, eqs. 3-6. One
    pass forward for each channel.
    """

    title, combine = "Score-CAM", staticmethod(weighing.combine_score_cam)

    def __init__(self, model: keras.Model, layers: Sequence[str], *, batch_size: int = 32) -> None:
        super().__init__(model, layers, batch_size=batch_size)
        self._score = graphs.make_scorer(model)

    def gather(self, pixels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, dict[str, Evidence]]:
        """Logits, activations (b, h', w', k) of each layer, and the probabilities (b, k) of its masked images."""
        activations = graphs.compute_activations(self.model, pixels, layers=self.layers)
        evidence = {name: (maps, self._score_masks(maps, pixels, classes)) for name, maps in activations.items()}
        return self._score(pixels), evidence

    def _score_masks(self, activations: np.ndarray, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        n_channels = activations.shape[-1]
        probabilities = np.empty((len(pixels), n_channels), np.float32)
        for index, (image, class_of) in enumerate(zip(pixels, classes, strict=True)):
            for first in range(0, n_channels, self.batch_size):
                batch = slice(first, first + self.batch_size)
                # Channels of one image, enlarged to it (bilinear, whole map on whole image): (b, h', w') -> (b, h, w).
                channels = np.moveaxis(activations[index, ..., batch], -1, 0)
                masks = tf.image.resize(channels[..., None], image.shape[:2]).numpy()[..., 0]
                # Masks are stretched to 0..1: what a channel does not answer to goes black, (b, h, w, 3).
                masked = image[None] * weighing.scale_masks(masks)[..., None]
                probabilities[index, batch] = graphs.compute_probabilities(self._score(masked))[:, class_of]
        return probabilities

    def weigh(self, evidence: Evidence, signs: np.ndarray) -> np.ndarray:
        """Combine activations with the probabilities of the sign's class."""
        activations, probabilities = evidence
        # Of a single logit, the other class has what is missing to 1: (n, k).
        return self.combine(activations, np.where(signs.reshape(-1, 1) > 0, probabilities, 1 - probabilities))


class IntegratedGradients(Explainer):
    """Integrated gradients: relu(sum_c (x - x0) mean_s(d logit / d x at x0 + s (x - x0))), colours c, steps 0 < s < 1.

    Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017, eq. 3, at the steps' midpoints. Without relu,
    the sum over an image is the change of the logit from x0 to x.
    """

    title, unit, has_layers, combine = "Integrated gradients", "logits", False, staticmethod(weighing.combine_path)
    start = 0.0  # the grey of x0, 0 (black, as in the paper) to 255
    steps = 32  # the sum over an image then misses the logit's change by a percent or so

    def __init__(self, model: keras.Model, layers: Sequence[str] = (PIXELS,), *, batch_size: int = 16) -> None:
        super().__init__(model, layers, batch_size=batch_size)
        self._network = keras.Model(model.inputs[0], graphs.linearise_output(model))
        self._score = graphs.make_scorer(model)
        self._differentiate = tf.function(self._differentiate_batch, reduce_retracing=True)

    def _differentiate_batch(self, batch: tf.Tensor, class_of: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)  # steps of one image's path, (b, h, w, 3)
            chosen = tf.gather(self._network(batch, training=False), class_of, axis=1)  # (b,)
        gradients = tape.gradient(chosen, batch, unconnected_gradients=tf.UnconnectedGradients.ZERO)  # (b, h, w, 3)
        return tf.reduce_sum(gradients, axis=0)

    def gather(self, pixels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, dict[str, Evidence]]:
        """Logits, image minus x0, and a logit's gradients by the pixels, averaged along the path: (b, h, w, 3) each."""
        differences = pixels - np.float32(self.start)
        shares = ((np.arange(self.steps) + 0.5) / self.steps).astype(np.float32)
        gradients = np.zeros(pixels.shape, np.float64)
        for index, difference in enumerate(differences):
            for first in range(0, self.steps, self.batch_size):
                # Some of the steps from x0 to the image: (b, 1, 1, 1) times (h, w, 3).
                batch = self.start + shares[first : first + self.batch_size, None, None, None] * difference
                steps = tf.constant(batch, tf.float32)
                gradients[index] += self._differentiate(steps, tf.constant(classes[index])).numpy()
        return self._score(pixels), {PIXELS: (differences, (gradients / self.steps).astype(np.float32))}


def _check_signs(sign: Sign, n_images: int) -> np.ndarray | None:
    signs = np.asarray(1 if sign is None else sign, np.float32)
    if not np.isin(signs, (-1, 1)).all():
        raise InputError(f"sign is {sign}: +1 explains dog, -1 explains cat")
    return None if sign is None else np.broadcast_to(signs, n_images)
