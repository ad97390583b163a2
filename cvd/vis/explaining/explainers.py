"""Ways to explain a classifier: what each gathers from the network, and how it weighs it into maps.

The network runs once for all layers and all signs, and leaves its logits and a few arrays of each layer. Here are the
base of all ways and those that look at changed images; `cams` has those that weigh activations by gradients.
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
from cvd.vis.explaining.layers import PIXELS

# What a map is made of, and what that is worth to the class: activations and gradients, for instance.
Evidence = tuple[np.ndarray, ...]
Sign = int | np.ndarray  # which class a map explains: +1 or -1, for all images or (n,)


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
        """Run the network on a batch (b, h, w, 3), for weights of logits (b, c): logits, each layer's evidence."""

    def weigh(self, evidence: Evidence, signs: np.ndarray) -> np.ndarray:
        """Weigh evidence for the signs (b,) into maps (b, h', w'), >= 0."""
        features, gradients, *_ = evidence
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
        classes = graphs.weigh_classes(self.model, class_index, len(pixels))
        checked = [_check_signs(sign, len(pixels)) for sign in signs]
        # Batch by batch, so that the evidence of few images is in memory; then one row for each sign and explainer.
        scores, rows = [], []
        for first in range(0, len(pixels), self.batch_size):
            batch = slice(first, first + self.batch_size)
            logits, evidence = self.gather(pixels[batch], classes[batch])
            scores.append(logits)
            rows.append(
                [
                    {name: explainer.weigh(evidence[name], sign[batch]).astype(np.float32) for name in self.layers}
                    for sign in checked
                    for explainer in explainers
                ]
            )
        parts = zip(*rows, strict=True)
        merged = [{name: np.concatenate([maps[name] for maps in part]) for name in self.layers} for part in parts]
        return np.concatenate(scores), [merged[k :: len(explainers)] for k in range(len(explainers))]


class ScoreCam(Explainer):
    """Score-CAM: relu(sum_k p_k A_k), p_k the probability of the class for the image masked by A_k.

    Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, 2020, eqs. 3-6. One
    pass forward for each channel.
    """

    title, combine = "Score-CAM", staticmethod(weighing.combine_score_cam)

    def __init__(self, model: keras.Model, layers: Sequence[str], *, batch_size: int = 32) -> None:
        super().__init__(model, layers, batch_size=batch_size)
        self._score = graphs.make_scorer(model)

    def gather(self, pixels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, Mapping[str, Evidence]]:
        """Logits, activations (b, h', w', k) of each layer, and the probabilities (b, k) of its masked images."""
        activations = graphs.compute_activations(self.model, pixels, layers=self.layers)
        evidence = {name: (maps, self._score_masks(maps, pixels, classes)) for name, maps in activations.items()}
        return self._score(pixels), evidence

    def _score_masks(self, activations: np.ndarray, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        n_channels = activations.shape[-1]
        probabilities = np.empty((len(pixels), n_channels), np.float32)
        for index, (image, weights) in enumerate(zip(pixels, classes, strict=True)):
            for first in range(0, n_channels, self.batch_size):
                batch = slice(first, first + self.batch_size)
                # Channels of one image, enlarged to it (bilinear, whole map on whole image): (b, h', w') -> (b, h, w).
                channels = np.moveaxis(activations[index, ..., batch], -1, 0)
                masks = tf.image.resize(channels[..., None], image.shape[:2]).numpy()[..., 0]
                # Masks are stretched to 0..1: what a channel does not answer to goes black, (b, h, w, 3).
                masked = image[None] * weighing.scale_masks(masks)[..., None]
                scores = self._score(masked)  # (b, classes)
                # Of the class; of a difference, as if there were no other classes, its sigmoid: (b,).
                if (weights < 0).any():
                    probabilities[index, batch] = graphs.compute_probabilities((scores @ weights)[:, None])[:, 0]
                else:
                    probabilities[index, batch] = graphs.compute_probabilities(scores) @ weights
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

    def _differentiate_batch(self, batch: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)  # steps of one image's path, (b, h, w, 3)
            chosen = tf.linalg.matvec(self._network(batch, training=False), weights)  # (b,)
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


def _check_signs(sign: Sign, n_images: int) -> np.ndarray:
    signs = np.asarray(sign, np.float32)
    if not np.isin(signs, (-1, 1)).all():
        raise InputError(f"sign is {sign}: +1 explains the second class, -1 the first")
    return np.broadcast_to(signs, n_images)
