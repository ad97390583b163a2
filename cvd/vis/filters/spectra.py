"""Frequencies and colours of natural images: how a picture starts, and how a gradient is weighed."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

GREY, WHITE = 128.0, 255.0
NOISE = 24.0  # half the width of white noise, in pixel values
CLOUDS = 16.0  # standard deviation of noise like natural images, in pixel values
# Colours of natural images vary mostly together, in brightness: the square root of their covariance, scaled to
# norm 1 (Olah et al., Feature Visualization, 2017, from their published code).
COLOUR = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)


def draw_white_noise(filters: np.ndarray, size_px: int, seed: int) -> np.ndarray:
    """Draw grey noise to start from, (n, size_px, size_px, 3), float32; it depends on seed and filter only."""
    shape = (size_px, size_px, 3)
    generators = [np.random.default_rng([seed, int(index)]) for index in filters]
    return np.stack([rng.uniform(GREY - NOISE, GREY + NOISE, shape) for rng in generators]).astype(np.float32)


def draw_clouds(filters: np.ndarray, size_px: int, seed: int) -> np.ndarray:
    """Draw noise with the frequencies and colours of natural images, (n, size_px, size_px, 3), float32, 0..255.

    Clouds rather than grain: there is little to remove from the finished picture. It depends on seed and filter only.
    """
    shape = (size_px, size_px, 3)
    white = np.stack([np.random.default_rng([seed, int(index)]).normal(size=shape) for index in filters])
    clouds = decorrelate(tf.constant(white, tf.float32), np.sqrt(weigh_frequencies(size_px))).numpy()
    deviation = clouds.std(axis=(1, 2, 3), keepdims=True)
    return np.clip(GREY + CLOUDS * clouds / deviation, 0, 255)


def weigh_frequencies(size_px: int) -> np.ndarray:
    """Weigh a picture's frequencies by 1/f, as in natural images: (size_px, size_px // 2 + 1), float32."""
    rows, columns = np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None]
    spectrum = 1 / np.maximum(np.hypot(rows, columns), 1 / size_px)
    spectrum[0, 0] /= 2  # else a filter for a plain colour never gets round to its texture
    return spectrum.astype(np.float32)


def decorrelate(gradients: tf.Tensor, spectrum: np.ndarray) -> tf.Tensor:
    """Weigh the colours and frequencies of gradients (b, s, s, 3) as they are in natural images."""
    side = len(spectrum)
    planes = tf.transpose(gradients @ tf.constant(COLOUR @ COLOUR.T), (0, 3, 1, 2))  # (b, 3, s, s)
    frequencies = tf.signal.rfft2d(planes) * tf.constant(spectrum, tf.complex64)  # (b, 3, s, s // 2 + 1)
    weighed = tf.signal.irfft2d(frequencies, fft_length=(side, side))  # (b, 3, s, s)
    return tf.transpose(weighed, (0, 2, 3, 1))
