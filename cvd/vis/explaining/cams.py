"""Class activation maps: activations of a layer, weighed by the gradients of the logit."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from cvd.vis.explaining import graphs, weighing
from cvd.vis.explaining.explainers import Evidence, Explainer
from cvd.vis.explaining.layers import find_output


class GradientExplainer(Explainer):
    """What Grad-CAM, Grad-CAM++ and HiResCAM share: activations A of layers, and the logit's gradients by them."""

    def __init__(self, model: keras.Model, layers: Sequence[str], *, batch_size: int = 16) -> None:
        super().__init__(model, layers, batch_size=batch_size)
        # From pixels to the logits and to the activations of all layers.
        outputs = [graphs.linearise_output(model), *(find_output(model, name) for name in layers)]
        self._network = keras.Model(model.inputs[0], outputs)
        # As one graph TensorFlow fuses convolutions with what follows them: four times as fast as one by one.
        signature = [tf.TensorSpec(tensor.shape, tf.float32) for tensor in (model.inputs[0], outputs[0])]
        self._differentiate = tf.function(self._differentiate_batch, input_signature=signature)

    def _differentiate_batch(
        self, batch: tf.Tensor, classes: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)  # (n, h, w, 3)
            # Logits (n, classes), and of each layer A (n, h', w', k).
            logits, *activations = self._network(batch, training=False)
            # Of each image the logit of its class, or the difference of two: (n,).
            chosen = tf.reduce_sum(logits * classes, axis=1)
        # d logit / d A of each layer, (n, h', w', k); 0 where the logit does not depend on the layer.
        gradients = tape.gradient(chosen, activations, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return logits, activations, gradients

    def gather(self, pixels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, dict[str, Evidence]]:
        """Logits; of each layer activations and gradients, (b, h', w', k) each, and the explained sum of logits, (b,).

        One pass forward and back.
        """
        logits, activations, gradients = self._differentiate(tf.constant(pixels), tf.constant(classes))
        rows, scores = zip(self.layers, activations, gradients, strict=True), logits.numpy()
        chosen = (scores * classes).sum(axis=1)
        return scores, {name: (values.numpy(), slopes.numpy(), chosen) for name, values, slopes in rows}


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


class HiResCamPlus(HiResCam):
    """HiResCAM+: HiResCAM whose cells also share what biases add to the logit, by the size of their evidence.

    So the maps for and against an answer differ by its logit, unless biases add more than all evidence together
    (`combine_hires_cam_plus`). Each map is HiResCAM's, brighter or darker. Ours.
    """

    title = "HiResCAM+"

    def weigh(self, evidence: Evidence, signs: np.ndarray) -> np.ndarray:
        """Combine activations, gradients and the explained sum of logits."""
        activations, gradients, chosen = evidence
        worth = gradients * signs.reshape(-1, 1, 1, 1)
        return weighing.combine_hires_cam_plus(activations, worth, chosen * signs)
