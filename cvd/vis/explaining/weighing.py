"""From a layer's activations and what they are worth to heat maps: pure functions of arrays, without TensorFlow."""

from __future__ import annotations

import numpy as np


def combine_grad_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017, eqs. 1-2): channels weighed by their mean gradient, summed, positive part.

    Args:
        activations: (n, h', w', k).
        gradients: (n, h', w', k), of the logit by the activations.

    Returns:
        (n, h', w'), >= 0, in logits.
    """
    return np.maximum(combine_channels(activations, gradients.mean(axis=(1, 2))), 0)


def combine_grad_cam_plus_plus(
    activations: np.ndarray, gradients: np.ndarray, *, scaled: bool = False, mean: bool = False
) -> np.ndarray:
    """Grad-CAM++ (Chattopadhay et al. 2018, eqs. 10-19, for exp(logit)): positions weigh positive gradients.

    Up to the factor exp(logit), which is the same for a whole map and is left out. Libraries differ from the paper; the
    two options are theirs.

    Args:
        activations: (n, h', w', k).
        gradients: (n, h', w', k), of the logit by the activations.
        scaled: each channel's alphas scaled to a sum of 1, as in the authors' code and tf-keras-vis.
        mean: a channel's mean where eq. 19 has its sum, and the weights' mean for their sum, as in xplique.

    Returns:
        (n, h', w'), >= 0.
    """
    sums = activations.sum(axis=(1, 2), keepdims=True, dtype=np.float64)
    n_positions = activations.shape[1] * activations.shape[2] if mean else 1
    alphas = weigh_positions(gradients, sums / n_positions)
    if scaled:
        totals = alphas.sum(axis=(1, 2), keepdims=True)
        alphas = alphas / np.where(totals == 0, 1, totals)
    weights = (alphas * np.maximum(gradients, 0)).sum(axis=(1, 2)) / n_positions
    return np.maximum(combine_channels(activations, weights.astype(activations.dtype)), 0)


def weigh_positions(gradients: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Grad-CAM++'s alphas (eq. 19): g^2 / (2 g^2 + sum(A) g^3).

    Args:
        gradients: (n, h', w', k).
        sums: (n, 1, 1, k), of each channel's activations.

    Returns:
        (n, h', w', k); 0 where the gradient or the denominator is.
    """
    denominators = 2 + sums * gradients
    is_set = (gradients != 0) & (denominators != 0)
    return np.divide(1.0, denominators, out=np.zeros_like(denominators), where=is_set)


def combine_hires_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """HiResCAM (Draelos and Carin 2020, eq. 3): activation times gradient, each position by itself; positive part.

    Arrays and unit are those of `combine_grad_cam`.
    """
    return np.maximum(np.einsum("nhwk,nhwk->nhw", activations, gradients), 0)


def combine_hires_cam_plus(activations: np.ndarray, gradients: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """HiResCAM, its cells scaled so that the maps for and against a class differ by its logit.

    A piecewise linear network's logit is the sum of activation times gradient, plus what biases add behind the layer.
    Each cell takes a part of that, as large as its share of all evidence, for and against. Where biases add more than
    there is evidence, they count only as much.

    Args:
        activations: (n, h', w', k).
        gradients: (n, h', w', k), of the logit by the activations.
        logits: (n,).

    Returns:
        (n, h', w'), >= 0, in logits.
    """
    cells = np.einsum("nhwk,nhwk->nhw", activations, gradients)
    sizes, biases = np.abs(cells), logits - cells.sum(axis=(1, 2))  # (n, h', w'), (n,)
    totals = sizes.sum(axis=(1, 2))
    rates = np.clip(np.divide(biases, totals, out=np.zeros_like(biases), where=totals > 0), -1, 1)
    return np.maximum(cells + rates[:, None, None] * sizes, 0)


def combine_score_cam(activations: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Score-CAM (Wang et al. 2020): channels weighed by what the class gets when only they let the image through.

    Weights are probabilities, as in the authors' code and in tf-keras-vis. Their paper has the softmax over channels of
    scores instead, which for logits, of no bounded size, leaves little more than one channel.

    Args:
        activations: (n, h', w', k).
        probabilities: (n, k), of the class for the image masked by each channel.

    Returns:
        (n, h', w'), >= 0, in units of the activations.
    """
    return np.maximum(combine_channels(activations, probabilities), 0)


def combine_path(differences: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Integrated gradients (Sundararajan et al. 2017, eq. 1), colours summed, positive part.

    Args:
        differences: (n, h, w, 3), the image minus what the path begins with.
        gradients: (n, h, w, 3), of the logit by the pixels, averaged along the path.

    Returns:
        (n, h, w), >= 0, in logits.
    """
    return np.maximum(np.einsum("nhwc,nhwc->nhw", differences, gradients), 0)


def combine_channels(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of channels (n, h', w', k) with a weight for each (n, k): (n, h', w')."""
    return np.einsum("nhwk,nk->nhw", activations, weights)


def scale_masks(masks: np.ndarray) -> np.ndarray:
    """Masks (n, h, w), each stretched to 0..1 by itself; a constant one is 0, as it tells no place from another."""
    low, high = masks.min(axis=(1, 2), keepdims=True), masks.max(axis=(1, 2), keepdims=True)
    span = high - low
    return np.divide(masks - low, span, out=np.zeros_like(masks), where=span > 0)
