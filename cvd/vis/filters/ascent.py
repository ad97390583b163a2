"""What the filters of a network look for: pictures that excite them, by gradient ascent in input space."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cvd.runtime.errors import InputError
from cvd.vis.explaining.graphs import cut_filters
from cvd.vis.filters.responses import Respond, make_responder

GREY = 128.0
NOISE = 24.0  # half the width of the starting noise, in pixel values
RECIPES = ("crisp", "plain")
PLAIN_STEP = 1.0  # RMS of a step in pixel values, as in the tutorials
KEEP = 0.97  # share of a picture's contrast that a crisp step keeps, so that the starting noise fades
CRISP_STEP = 6.0  # RMS of the first step; the last one is 0.3 of it
MOST_AT_ONCE = 8  # batches in memory
# Colours of natural images vary mostly together, in brightness: the square root of their covariance, scaled to
# norm 1 (Olah et al., Feature Visualization, 2017, from their published code).
COLOUR = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)


class Ascent(NamedTuple):
    """Pictures of n filters of a layer, and how far the ascent came."""

    filters: np.ndarray  # (n,), int64, which channels
    pictures: np.ndarray  # (n, s, s, 3), float32, 0..255
    objectives: np.ndarray  # (n, steps + 1), float32, mean activation, from the starting noise to the picture
    is_dead: np.ndarray  # (n,), bool: never a gradient, or silent to the end

    def label(self) -> list[str]:
        """Write a line for each picture: its filter, and the mean activation before and after."""
        rows = zip(self.filters, self.objectives[:, 0], self.objectives[:, -1], self.is_dead, strict=True)
        return [
            f"{index}: dead" if is_dead else f"{index}: {round_activation(before)} → {round_activation(after)}"
            for index, before, after, is_dead in rows
        ]

    def describe(self, n_filters: int) -> dict[str, Any]:
        """Give the figures for JSON; `n_filters` is the number of filters of the whole layer."""
        rows = zip(self.filters, self.objectives, self.is_dead, strict=True)
        return {
            "n_filters": n_filters,
            "n_dead": int(self.is_dead.sum()),
            "filters": [
                {
                    "filter": int(index),
                    "before": float(objectives[0]),
                    "after": float(objectives[-1]),
                    "dead": bool(is_dead),
                    "objectives": [float(f"{value:.4g}") for value in objectives],
                }
                for index, objectives, is_dead in rows
            ],
        }


def round_activation(value: float) -> str:
    """Round to two significant digits, or to a whole number, without zeros that only fill: 0.00012 is 1.2e-4."""
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(power)}"
    return f"{value:.0f}" if abs(value) >= 9.95 else f"{value:#.2g}"


def ascend_filters(
    model: keras.Model,
    *,
    layer: str,
    filters: Sequence[int],
    size_px: int,
    steps: int,
    seed: int,
    recipe: str = "crisp",
    batch_size: int = 4,
    at_once: int = 1,
) -> Ascent:
    """Maximise the mean activation of filters over pictures, from grey noise; many filters in one batch.

    A filter's picture does not depend on the filters beside it. `plain` steps by the gradient over its RMS (Chollet,
    Deep Learning with Python, 2017, listings 5.32-5.39). `crisp` weighs the gradient's frequencies and colours as in
    natural images (Olah et al. 2017). It rolls the picture at random before each step, so that it has no edges. It also
    climbs where a rectifier is silent.

    Args:
        model: any functional Keras model with one input of pixels 0..255; the layer must need no fixed input size.
        layer: whose output is (n, h', w', k).
        filters: which of the k channels.
        size_px: side of the pictures.
        steps: of the ascent, at least 1.
        seed: of noise and shifts.
        recipe: crisp or plain.
        batch_size: filters per batch, at least 1; few fit the cache, and more are slower.
        at_once: batches that climb at the same time, at least 1, to the same bits; best with one thread for each
            (`cvd.machine.threads.set_threads`).

    Raises:
        InputError: the layer, a filter, the size or the recipe does not fit, or there are no filters.
    """
    if recipe not in RECIPES:
        raise InputError(f"recipe is {recipe!r}: choose from {', '.join(RECIPES)}")
    if not len(filters):
        raise InputError(f"no filters of layer {layer!r} are named: name one or more")
    cut = cut_filters(model, layer, size_px=size_px)
    n_filters = cut.outputs[0].shape[-1]
    if wrong := [index for index in filters if not 0 <= index < n_filters]:
        raise InputError(f"filter {wrong[0]} is not in layer {layer!r}: it has filters 0 to {n_filters - 1}")
    is_crisp = recipe == "crisp"
    shifts = _draw_shifts(size_px, steps, seed) if is_crisp else np.zeros((steps + 1, 2), np.int32)
    sizes = CRISP_STEP * np.geomspace(1, 0.3, steps) if is_crisp else np.full(steps, PLAIN_STEP)
    sizes = np.append(sizes, 0).astype(np.float32)
    spectrum = filter_spectrum(size_px) if is_crisp else None
    # One graph for batches of any size: the same arithmetic, whichever batch comes first.
    pixels, numbers = tf.TensorSpec((None, size_px, size_px, 3)), tf.TensorSpec((None,))
    signature = [pixels, tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None, 2), tf.int32), numbers]
    climb = tf.function(partial(_climb, make_responder(cut), spectrum), input_signature=signature)

    def ascend(start: int) -> Ascent:
        batch = np.asarray(filters[start : start + batch_size], np.int64)
        noise = tf.constant(draw_noise(batch, size_px, seed))
        pictures, objectives, steepest = (part.numpy() for part in climb(noise, tf.constant(batch), shifts, sizes))
        return Ascent(batch, pictures, objectives, (steepest == 0) | (is_crisp & (objectives[:, -1] == 0)))

    with ThreadPoolExecutor(at_once) as pool:
        batches = list(pool.map(ascend, range(0, len(filters), batch_size)))
    return Ascent(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def draw_noise(filters: np.ndarray, size_px: int, seed: int) -> np.ndarray:
    """Draw grey noise to start from, (n, size_px, size_px, 3), float32; it depends on seed and filter only."""
    shape = (size_px, size_px, 3)
    generators = [np.random.default_rng([seed, int(index)]) for index in filters]
    return np.stack([rng.uniform(GREY - NOISE, GREY + NOISE, shape) for rng in generators]).astype(np.float32)


def _draw_shifts(size_px: int, steps: int, seed: int) -> np.ndarray:
    """Draw (steps + 1, 2): none for the noise and for the finished picture, whose activations are compared."""
    reach = size_px // 2
    shifts = np.random.default_rng(seed).integers(-reach, reach + 1, (steps + 1, 2)).astype(np.int32)
    shifts[[0, -1]] = 0
    return shifts


def _climb(
    respond: Respond,
    spectrum: np.ndarray | None,
    pictures: tf.Tensor,
    filters: tf.Tensor,
    shifts: tf.Tensor,
    sizes: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Climb from noise to pictures (b, s, s, 3), objectives (b, rounds), slopes (b,); a round of size 0 only looks."""
    n_rounds = tf.shape(sizes)[0]
    objectives = tf.TensorArray(tf.float32, n_rounds, element_shape=filters.shape)
    steepest = tf.zeros(tf.shape(filters))
    for index in tf.range(n_rounds):
        # Look at the pictures rolled around, and roll the gradient back: (b,) and (b, s, s, 3)
        rolled = tf.roll(pictures, shifts[index], axis=(1, 2))
        objective, gradients = differentiate(respond, rolled, filters, rectified=spectrum is None)
        objectives = objectives.write(index, objective)
        gradients = tf.roll(gradients, -shifts[index], axis=(1, 2))
        # Scale by the steepest pixel, so that no square underflows: (b,), then (b, s, s, 3)
        slope = tf.reduce_max(tf.abs(gradients), axis=(1, 2, 3))
        steepest = tf.maximum(steepest, slope)
        direction = gradients / tf.maximum(slope, 1e-30)[:, None, None, None]
        if spectrum is not None:
            direction = decorrelate(direction, spectrum)
        # Let the contrast fade, then step by RMS `size`: (b, s, s, 3), within 0..255
        faded = pictures if spectrum is None else GREY + KEEP * (pictures - GREY)
        rms = tf.sqrt(tf.reduce_mean(direction**2, axis=(1, 2, 3), keepdims=True))
        moved = tf.clip_by_value(faded + sizes[index] * direction / (rms + 1e-8), 0, 255)
        # tf.where would spread the condition over all pixels, which takes a fifth of a round's time.
        pictures = tf.raw_ops.Select(condition=sizes[index] > 0, x=moved, y=pictures)
    return pictures, tf.transpose(objectives.stack()), steepest


def differentiate(
    respond: Respond, pictures: tf.Tensor, filters: tf.Tensor, *, rectified: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute each filter's mean activation, (b,), and the gradient to climb, (b, s, s, 3); a filter for each picture.

    `rectified` climbs the mean activation itself. Else climb what enters the rectifier: where the filter fires, its
    mean without an upper bound (ReLU6); where it is silent, the value nearest to firing.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pictures)
        bare, activation = respond(pictures, filters)  # (b, h', w') each
        if rectified:
            climbed = tf.reduce_mean(activation, axis=(1, 2))
        else:
            highest = tf.reduce_max(bare, axis=(1, 2))
            climbed = tf.where(highest > 0, tf.reduce_mean(tf.nn.relu(bare), axis=(1, 2)), highest)
    gradients = tape.gradient(climbed, pictures, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.reduce_mean(activation, axis=(1, 2)), gradients


def filter_spectrum(size_px: int) -> np.ndarray:
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
