"""What the filters of a network look for: pictures that excite them, by gradient ascent in input space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

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
CRISP_STEP = 6.0  # of the first step; the last one is 0.3 of it
# Colours of natural images vary mostly together, in brightness: the square root of their covariance, scaled to
# norm 1 (Olah et al., Feature Visualization, 2017, from their published code).
COLOUR = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)
# (images (b, s, s, 3), filters (b,)) -> objectives (b,), gradients (b, s, s, 3)
Objective = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class Ascent(NamedTuple):
    """Pictures of n filters of a layer, and how far the ascent came."""

    filters: np.ndarray  # (n,), int64, which channels
    pictures: np.ndarray  # (n, s, s, 3), float32, 0..255
    objectives: np.ndarray  # (n, steps + 1), float32, mean activation, from the starting noise to the picture
    is_dead: np.ndarray  # (n,), bool: never a gradient, or silent to the end

    @property
    def before(self) -> np.ndarray:
        """(n,), mean activation for the starting noise."""
        return self.objectives[:, 0]

    @property
    def after(self) -> np.ndarray:
        """(n,), mean activation for the picture."""
        return self.objectives[:, -1]


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
    """Pictures that maximise the mean activation of filters, from grey noise; many filters in one batch.

    The same filter gives the same picture in any company. `plain` is the tutorials' recipe: gradient over its RMS,
    constant step (Chollet, Deep Learning with Python, 2017, listings 5.32-5.39). `crisp` climbs in a decorrelated
    space (Olah et al. 2017): the gradient's frequencies weighed as in natural images, its colours too; each step on a
    picture rolled round at random, so that it has no edges; and it climbs past rectifiers that are silent.

    Args:
        model: any functional Keras model with one input of pixels 0..255; the layer must need no fixed input size.
        layer: name of a layer whose output is (n, h', w', k).
        filters: which of the k channels.
        size_px: side of the pictures.
        steps: of the ascent, at least 1.
        seed: of noise and shifts.
        recipe: crisp or plain.
        batch_size: filters per batch, at least 1; few fit the cache, and more are slower.
        at_once: batches that climb at the same time, at least 1, to the same bits; best with one thread for an
            operation (`cvd.runtime.threads.set_threads`). Each takes memory for itself.

    Raises:
        InputError: the layer, a filter, the size or the recipe does not fit, or there are no filters.
    """
    if recipe not in RECIPES:
        raise InputError(f"recipe is {recipe!r}: choose from {', '.join(RECIPES)}")
    if not len(filters):
        raise InputError(f"no filters of layer {layer!r} are named: name one or more")
    cut = cut_filters(model, layer, size_px=size_px)
    n_filters = cut.outputs[0].shape[-1]
    wrong = [index for index in filters if not 0 <= index < n_filters]
    if wrong:
        raise InputError(f"filter {wrong[0]} is not in layer {layer!r}: it has filters 0 to {n_filters - 1}")
    is_crisp = recipe == "crisp"
    objective = make_objective(make_responder(cut), rectified=not is_crisp)
    climb = _make_climb(objective, size_px, filter_spectrum(size_px) if is_crisp else None)
    shifts = _draw_shifts(size_px, steps, seed) if is_crisp else np.zeros((steps + 1, 2), np.int32)
    sizes = CRISP_STEP * np.geomspace(1, 0.3, steps) if is_crisp else np.full(steps, PLAIN_STEP)
    sizes = np.append(sizes, 0).astype(np.float32)

    def ascend(start: int) -> Ascent:
        chosen = np.asarray(filters[start : start + batch_size], np.int64)
        noise = tf.constant(draw_noise(chosen, size_px, seed))
        pictures, objectives, largest = (each.numpy() for each in climb(noise, tf.constant(chosen), shifts, sizes))
        return Ascent(chosen, pictures, objectives, (largest == 0) | (is_crisp & (objectives[:, -1] == 0)))

    with ThreadPoolExecutor(at_once) as pool:
        parts = list(pool.map(ascend, range(0, len(filters), batch_size)))
    return Ascent(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def make_objective(respond: Respond, *, rectified: bool) -> Objective:
    """Mean activation of a filter for each picture, and its gradient by the picture's pixels.

    Args:
        respond: as of `cvd.vis.filters.responses.make_responder`.
        rectified: whether to climb the activation itself; else what enters the rectifier: where it fires, without an
            upper bound (ReLU6), and the place nearest to firing as long as a filter is silent, without a gradient.
    """

    def differentiate(images: tf.Tensor, filters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            bare, activation = respond(images, filters)
            climbed = _average(activation) if rectified else _average_through(bare)
        gradients = tape.gradient(climbed, images, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return _average(activation), gradients

    return differentiate


def _average(answers: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(answers, axis=(1, 2))


def _average_through(bare: tf.Tensor) -> tf.Tensor:
    """Mean of what passes a rectifier without an upper bound; of a silent filter, the value nearest to firing."""
    highest = tf.reduce_max(bare, axis=(1, 2))
    return tf.where(highest > 0, _average(tf.nn.relu(bare)), highest)


def draw_noise(filters: np.ndarray, size_px: int, seed: int) -> np.ndarray:
    """Grey noise to start from, (n, size_px, size_px, 3), float32; it depends on seed and filter only."""
    shape = (size_px, size_px, 3)
    return np.stack(
        [np.random.default_rng([seed, int(each)]).uniform(GREY - NOISE, GREY + NOISE, shape) for each in filters]
    ).astype(np.float32)


def filter_spectrum(size_px: int) -> np.ndarray:
    """Weights of a picture's frequencies, (size_px, size_px // 2 + 1), float32: 1/f as in natural images."""
    rows, columns = np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None]
    frequencies = np.hypot(rows, columns)
    spectrum = 1 / np.maximum(frequencies, 1 / size_px)
    spectrum[0, 0] /= 2  # else a filter for a plain colour never gets round to its texture
    return spectrum.astype(np.float32)


def _draw_shifts(size_px: int, steps: int, seed: int) -> np.ndarray:
    """(steps + 1, 2): none for the noise and for the finished picture, whose activations are compared."""
    reach = size_px // 2
    shifts = np.random.default_rng(seed).integers(-reach, reach + 1, (steps + 1, 2)).astype(np.int32)
    shifts[[0, -1]] = 0
    return shifts


def _make_climb(
    objective: Objective, size_px: int, spectrum: np.ndarray | None
) -> Callable[..., tuple[tf.Tensor, ...]]:
    """The whole ascent as one graph: (images, filters, shifts, sizes) -> images, objectives, largest |gradient|.

    The network is in it once: a last round, of size 0, only looks at the finished picture. Batches of any size take the
    same graph, and so the same arithmetic, whichever comes first.
    """
    signature = [
        tf.TensorSpec((None, size_px, size_px, 3), tf.float32),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((None, 2), tf.int32),
        tf.TensorSpec((None,), tf.float32),
    ]

    def climb(images: tf.Tensor, filters: tf.Tensor, shifts: tf.Tensor, sizes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        n_rounds = tf.shape(sizes)[0]
        objectives = tf.TensorArray(tf.float32, n_rounds, element_shape=filters.shape)
        largest = tf.zeros(tf.shape(filters))
        for index in tf.range(n_rounds):
            value, gradients = objective(tf.roll(images, shifts[index], axis=(1, 2)), filters)
            objectives = objectives.write(index, value)
            gradients = tf.roll(gradients, -shifts[index], axis=(1, 2))
            steepest = tf.reduce_max(tf.abs(gradients), axis=(1, 2, 3))
            largest = tf.maximum(largest, steepest)
            direction = gradients / tf.maximum(steepest, 1e-30)[:, None, None, None]
            if spectrum is not None:
                direction = decorrelate(direction, spectrum)
            kept = images if spectrum is None else GREY + KEEP * (images - GREY)
            rms = tf.sqrt(tf.reduce_mean(direction**2, axis=(1, 2, 3), keepdims=True))
            moved = tf.clip_by_value(kept + sizes[index] * direction / (rms + 1e-8), 0, 255)
            # tf.where would spread the condition over all pixels, which takes a fifth of a round's time.
            images = tf.raw_ops.Select(condition=sizes[index] > 0, x=moved, y=images)
        return images, tf.transpose(objectives.stack()), largest

    return tf.function(climb, input_signature=signature)


def decorrelate(gradients: tf.Tensor, spectrum: np.ndarray) -> tf.Tensor:
    """Gradients (b, s, s, 3) with their colours and frequencies weighed as they are in natural images."""
    frequencies = tf.signal.rfft2d(tf.transpose(gradients @ tf.constant(COLOUR @ COLOUR.T), (0, 3, 1, 2)))
    side = len(spectrum)
    weighed = tf.signal.irfft2d(frequencies * tf.constant(spectrum, tf.complex64), fft_length=(side, side))
    return tf.transpose(weighed, (0, 2, 3, 1))
