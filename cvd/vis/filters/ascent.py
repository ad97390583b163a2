"""What the filters of a network look for: pictures that excite them, by gradient ascent in input space."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import keras
import numpy as np

from cvd.runtime.errors import InputError
from cvd.vis.explaining.graphs import cut_filters
from cvd.vis.filters.climbing import Method, Plan, Step, climb, keep_best, make_step, plan_steps
from cvd.vis.filters.kernels import find_kernels, tile_signs
from cvd.vis.filters.responses import make_responder
from cvd.vis.filters.spectra import draw_clouds, draw_white_noise

RECIPES = ("crisp", "plain")
STARTS = ("noise", "patch")  # from which crisp climbs again, in turn, below the strongest real patch
MOST_AT_ONCE = 8  # batches in memory


class Ascent(NamedTuple):
    """Pictures of n filters of a layer, and how far the ascent came."""

    filters: np.ndarray  # (n,), int64, which channels
    pictures: np.ndarray  # (n, s, s, 3), float32, 0..255
    objectives: np.ndarray  # (n, steps + 1), float32, mean activation from the start on; NaN where it has stopped
    highest: np.ndarray  # (n,), float32, mean activation of the pictures
    starts: np.ndarray  # (n,), str: noise, signs (of a kernel), grey or patch (a real one)
    is_dead: np.ndarray  # (n,), bool: never a slope, or silent to the end
    strongest: np.ndarray  # (n, p), float32, mean activation of real patches, from high to low
    ranks: np.ndarray  # (n, p), int64: the places of these among the patches that were given
    kernels: np.ndarray  # (n, rows, columns, 3), float32, of a first layer; (n, 0, 0, 3) of others


def ascend_filters(
    model: keras.Model,
    *,
    layer: str,
    filters: Sequence[int],
    size_px: int,
    steps: int,
    seed: int,
    recipe: str = "crisp",
    patches: np.ndarray | None = None,
    batch_size: int = 4,
    at_once: int = 1,
) -> Ascent:
    """Maximise the mean activation of filters over pictures; many filters in one batch, the best picture of each kept.

    A filter's picture does not depend on the filters beside it. Its ascent stops where nothing rises.

    - `plain` starts from grey noise and steps by the gradient over its RMS (Chollet, Deep Learning with Python, 2017,
      listings 5.32-5.39).
    - `crisp` starts from noise with the frequencies and colours of natural images, and weighs the gradient likewise
      (Olah et al. 2017). It rolls the picture at random before each step, so that it has no edges. It climbs what
      enters a rectifier, so that silent filters have a slope.
    - `crisp` of a first layer starts from the closed form for one place, the signs of the kernel, tiled. There the
      objective is convex in the pixels: a jump to the corner of 0..255 to which the gradient points never lowers it.

    Where `crisp` ends below the strongest real patch, it climbs again from other noise, then from this patch, and keeps
    the best.

    Args:
        model: any functional Keras model with one input of pixels 0..255; the layer must need no fixed input size.
        layer: whose output is (n, h', w', k).
        filters: which of the k channels.
        size_px: side of the pictures.
        steps: of an ascent at most, at least 1.
        seed: of noise and shifts.
        recipe: crisp or plain.
        patches: (n, p, size_px, size_px, 3), 0..255: real patches for each filter, which are measured too.
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
    tools = _make_tools(cut, size_px=size_px, steps=steps, seed=seed, is_crisp=recipe == "crisp")
    patches = np.zeros((len(filters), 0, size_px, size_px, 3), np.uint8) if patches is None else patches

    def ascend(first: int) -> Ascent:
        batch = slice(first, first + batch_size)
        return _ascend_batch(tools, np.asarray(filters[batch], np.int64), patches[batch].astype(np.float32))

    with ThreadPoolExecutor(at_once) as pool:
        batches = list(pool.map(ascend, range(0, len(filters), batch_size)))
    return Ascent(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


class _Tools(NamedTuple):
    """What the ascents of a layer share."""

    method: Method
    kernels: np.ndarray | None  # (k, rows, columns, 3), of a first layer
    has_rectifier: bool
    step: Step
    plan: Plan
    size_px: int
    seed: int


def _make_tools(cut: keras.Model, *, size_px: int, steps: int, seed: int, is_crisp: bool) -> _Tools:
    kernels = find_kernels(cut)
    method: Method = "plain" if not is_crisp else "crisp" if kernels is None else "corners"
    respond, has_rectifier = make_responder(cut), cut.outputs[0] is not cut.outputs[1]
    return _Tools(
        method,
        kernels,
        has_rectifier,
        make_step(respond, method, size_px=size_px, has_rectifier=has_rectifier),
        plan_steps(method, size_px=size_px, steps=steps, seed=seed),
        size_px,
        seed,
    )


def _ascend_batch(tools: _Tools, filters: np.ndarray, patches: np.ndarray) -> Ascent:
    """Ascend for filters (b,), and measure their real patches (b, p, s, s, 3)."""
    ascend = partial(climb, tools.step, plan=tools.plan)
    draw = draw_clouds if tools.method == "crisp" else draw_white_noise
    kernels = np.zeros((len(filters), 0, 0, 3)) if tools.kernels is None else tools.kernels[filters]
    best = ascend(draw(filters, tools.size_px, tools.seed), filters, start="noise")
    if tools.method == "corners":
        signs = tile_signs(kernels, tools.size_px)
        best = keep_best(best, ascend(signs, filters, start="signs"), np.arange(len(filters)))
    ranks, strongest = _rank_patches(tools, filters, patches)
    for start in STARTS if tools.method != "plain" and patches.shape[1] else ():
        low = np.flatnonzero(best.highest < strongest[:, 0])
        if not len(low):
            break
        if start == "noise":
            again = ascend(draw(filters[low], tools.size_px, tools.seed + 1), filters[low], start=start)
        else:
            plan = tools.plan.begin_late()
            again = climb(tools.step, patches[low, ranks[low, 0]], filters[low], plan=plan, start=start)
        best = keep_best(best, again, low)
    is_silent = tools.has_rectifier & (best.highest == 0) & (tools.method != "plain")
    is_dead = (best.slopes == 0) | is_silent
    return Ascent(
        filters, best.pictures, best.objectives, best.highest, best.starts, is_dead, strongest, ranks, kernels
    )


def _rank_patches(tools: _Tools, filters: np.ndarray, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order patches (b, p, s, s, 3) by mean activation, from high to low: their places and these means, (b, p) each."""
    means = np.zeros(patches.shape[:2], np.float32)
    for place in range(patches.shape[1]):
        # By a step of size 0: one graph for ascents and patches spares a compilation.
        means[:, place] = tools.step(patches[:, place], filters, np.float32(0))[0]
    ranks = np.argsort(-means, axis=1, kind="stable")
    return ranks, np.take_along_axis(means, ranks, 1)
