"""Climb a filter's response over pictures: the steps, when they stop, and which picture is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from cvd.vis.filters.responses import Respond
from cvd.vis.filters.spectra import WHITE, decorrelate, weigh_frequencies

Method = Literal["crisp", "plain", "corners"]
PLAIN_STEP = 1.0  # RMS of a step in pixel values, as in the tutorials
CRISP_STEP = 24.0  # RMS of the first step; the last one is a tenth of it
BARE_SHARE = 0.1  # of a crisp step that is the gradient as it is: else the fine grids of shallow layers rise slowly
RISE = 0.01  # stop where nothing rises by such a share in so many steps
PATIENCE = {"crisp": 8, "plain": 8, "corners": 1}

# (pictures (b, s, s, 3), filters (b,), RMS of the step) -> mean activation (b,), what is climbed (b,), its steepest
# slope (b,), and the pictures one step on
Step = Callable[[np.ndarray, np.ndarray, np.float32], tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]]


class Plan(NamedTuple):
    """The steps of an ascent, of which the last has size 0 and only looks."""

    shifts: np.ndarray  # (steps + 1, 2), int32: by how much the picture is rolled round before each
    sizes: np.ndarray  # (steps + 1,), float32: RMS in pixel values
    patience: int

    def begin_late(self) -> Plan:
        """Leave out the first, large steps, and the rolling: for a picture that is good already."""
        half = len(self.sizes) // 2
        return Plan(np.zeros_like(self.shifts[half:]), self.sizes[half:], self.patience)


class Climb(NamedTuple):
    """How an ascent went, for each of n filters."""

    pictures: np.ndarray  # (n, s, s, 3), float32, 0..255: the best on the way
    highest: np.ndarray  # (n,), float32: their mean activation
    objectives: np.ndarray  # (n, steps + 1), float32: mean activation at each step; NaN after the last one
    slopes: np.ndarray  # (n,), float32: the steepest slope on the way
    starts: np.ndarray  # (n,), str: what it started from, five letters


def plan_steps(method: Method, *, size_px: int, steps: int, seed: int) -> Plan:
    """Plan an ascent of so many steps; only crisp ones roll the picture round, and neither first nor last."""
    shifts = np.zeros((steps + 1, 2), np.int32)
    sizes = np.full(steps, PLAIN_STEP)
    if method == "crisp":
        reach = size_px // 2
        shifts[1:-1] = np.random.default_rng(seed).integers(-reach, reach + 1, (steps - 1, 2))
        sizes = CRISP_STEP * np.geomspace(1, 0.1, steps)
    return Plan(shifts, np.append(sizes, 0).astype(np.float32), PATIENCE[method])


def make_step(respond: Respond, method: Method, *, size_px: int, has_rectifier: bool) -> Step:
    """Compile one step, for batches of any size: the same arithmetic, whichever batch comes first."""
    spectrum = weigh_frequencies(size_px) if method == "crisp" else None
    is_bare = has_rectifier and method != "plain"
    signature = [tf.TensorSpec((None, size_px, size_px, 3)), tf.TensorSpec((None,), tf.int64), tf.TensorSpec(())]
    take = partial(_take_step, respond, method, spectrum, is_bare)
    return tf.function(take, input_signature=signature, autograph=False)


def _take_step(
    respond: Respond,
    method: Method,
    spectrum: np.ndarray | None,
    is_bare: bool,
    pictures: tf.Tensor,
    filters: tf.Tensor,
    size: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    objective, climbed, gradients = differentiate(respond, pictures, filters, is_bare=is_bare)
    slope = tf.reduce_max(tf.abs(gradients), axis=(1, 2, 3))  # (b,)
    if method == "corners":
        moved = tf.where(gradients > 0, WHITE, tf.where(gradients < 0, 0.0, pictures))  # (b, s, s, 3)
        return objective, climbed, slope, moved
    # Scale by the steepest pixel, so that no square underflows: (b, s, s, 3)
    direction = _normalise(gradients / tf.maximum(slope, 1e-30)[:, None, None, None])
    if spectrum is not None:
        natural = _normalise(decorrelate(direction, spectrum))
        direction = _normalise((1 - BARE_SHARE) * natural + BARE_SHARE * direction)
    return objective, climbed, slope, tf.clip_by_value(pictures + size * direction, 0, WHITE)


def _normalise(direction: tf.Tensor) -> tf.Tensor:
    """Scale each picture's direction (b, s, s, 3) to RMS 1; nothing stays nothing."""
    return direction / (tf.sqrt(tf.reduce_mean(direction**2, axis=(1, 2, 3), keepdims=True)) + 1e-8)


def differentiate(
    respond: Respond, pictures: tf.Tensor, filters: tf.Tensor, *, is_bare: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Compute each filter's mean activation, what is climbed, (b,) each, and its gradient, (b, s, s, 3).

    By default the mean activation itself is climbed. `is_bare` climbs what enters the rectifier: where the filter
    fires, its mean without an upper bound (ReLU6); where it is silent, the value nearest to firing.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pictures)
        bare, activation = respond(pictures, filters)  # (b, h', w') each
        if is_bare:
            top = tf.reduce_max(bare, axis=(1, 2))
            climbed = tf.where(top > 0, tf.reduce_mean(tf.nn.relu(bare), axis=(1, 2)), top)
        else:
            climbed = tf.reduce_mean(activation, axis=(1, 2))
    gradients = tape.gradient(climbed, pictures, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.reduce_mean(activation, axis=(1, 2)), climbed, gradients


def climb(step: Step, pictures: np.ndarray, filters: np.ndarray, *, plan: Plan, start: str) -> Climb:
    """Climb from pictures (n, s, s, 3), float32; each filter stops where it has no slope or nothing rises."""
    n_rounds = len(plan.sizes)
    best, moving, active = pictures.copy(), pictures, np.arange(len(filters))
    objectives = np.full((len(filters), n_rounds), np.nan, np.float32)
    highest, peaks = np.full((2, len(filters)), np.finfo(np.float32).min)
    slopes, risen = np.zeros(len(filters), np.float32), np.zeros(len(filters), np.int64)
    for index, (shift, size) in enumerate(zip(plan.shifts, plan.sizes, strict=True)):
        moving = np.roll(moving, shift, axis=(1, 2))
        objective, climbed, slope, moved = (part.numpy() for part in step(moving, filters[active], size))
        objectives[active, index] = objective
        slopes[active] = np.maximum(slopes[active], slope)
        # Of equal ones the last is kept: above a rectifier's bound (ReLU6) it has come further.
        is_best = objective >= highest[active]
        best[active[is_best]], highest[active[is_best]] = moving[is_best], objective[is_best]
        rises = climbed > peaks[active] + RISE * np.abs(peaks[active])
        peaks[active[rises]], risen[active[rises]] = climbed[rises], index
        goes_on = (slope > 0) & (index - risen[active] < plan.patience)
        active, moving = active[goes_on], moved[goes_on]
        if not len(active):
            break
    return Climb(best, highest.astype(np.float32), objectives, slopes, np.full(len(filters), start, "U5"))


def keep_best(first: Climb, second: Climb, places: np.ndarray) -> Climb:
    """Keep for each filter the ascent that came higher; `second` is of the filters at `places` (m,) of `first`."""
    is_higher = second.highest > first.highest[places]
    missing = first.objectives.shape[1] - second.objectives.shape[1]
    objectives = np.pad(second.objectives, ((0, 0), (0, missing)), constant_values=np.nan)
    best = Climb(*(ours.copy() for ours in first))
    for ours, theirs in zip(best, second._replace(objectives=objectives), strict=True):
        ours[places[is_higher]] = theirs[is_higher]
    return best
