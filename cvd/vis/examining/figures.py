"""The figures of a network's heat maps: every check, for every method and layer."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import cv2
import keras
import numpy as np

from cvd.runtime.threads import map_ahead
from cvd.vis.examining import checks
from cvd.vis.explaining.geometry import Cells, lay_maps, place_cells, upsample_map
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
from cvd.vis.explaining.layers import choose_examined_layers
from cvd.vis.explaining.methods import METHODS, Explainers, choose_layers

MASKS = ("animal", "head")
TOLERANCES = (checks.TOLERANCE, 0.0)  # of the pointing game, and of the strict one
N_AHEAD = 32  # images whose masks are decoded at once
CHANCE = ("chance", "random")  # stands for the method and layer of maps without meaning
Masks = Sequence[dict[str, np.ndarray]]  # of each image by kind, (h, w) bool
Maps = dict[str, dict[str, np.ndarray]]  # by method and layer


class Curve(TypedDict):
    """Rank correlations with the maps of randomised networks, by the lowest shuffled layer, from the top down."""

    rank_correlations: dict[str, float]


class LayerFigures(TypedDict, total=False):
    """Figures of a method's maps at a layer: means over images. Those of masks are there where images have masks."""

    agreement: float  # share of images with more evidence for the class that the network names than for the other
    logit_error: float  # mean distance of their difference from the logit, as a share of the mean logit's size
    deletion: float  # areas under the curves of probability; of each method's last layer only
    insertion: float
    animal_share: float  # of heat inside the mask
    animal_pointing: float  # share of images whose hottest spot is inside the mask or close
    animal_pointing_strict: float  # inside the mask
    head_share: float
    head_pointing: float
    head_pointing_strict: float
    watermark_share: float  # and so on, of training images that bear a planted watermark (`watermarks`)
    rank_correlation: float  # with the maps of the network whose layers are all shuffled
    details: list[Curve]


Figures = dict[str, dict[str, LayerFigures]]  # by method and layer


def read_masks(path: Path, images: Sequence[str], kinds: Sequence[str] = MASKS) -> Masks:
    """Read the masks that images have, by their paths in the manifest; empty ones are left out."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        members = [{kind: f"{kind}/{Path(image).with_suffix('.png').as_posix()}" for kind in kinds} for image in images]
        encoded = ({kind: archive.read(name) for kind, name in named.items() if name in names} for named in members)
        return list(map_ahead(_decode_masks, encoded, n_ahead=N_AHEAD))


def _decode_masks(encoded: dict[str, bytes]) -> dict[str, np.ndarray]:
    grey = {kind: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) for kind, data in encoded.items()}
    masks = {kind: np.asarray(pixels) > 127 for kind, pixels in grey.items()}
    return {kind: mask for kind, mask in masks.items() if mask.any()}


class Scope(NamedTuple):
    """What is checked, and of how many images."""

    methods: Sequence[str]  # as of `methods.METHODS`
    layers: Sequence[str] | None  # their names; None: as of `choose_examined_layers`
    n_perturbed: int  # so many of the checked images are perturbed, by the maps of each method's last layer
    n_steps: int  # points of a curve of deletion or insertion
    n_randomised: int  # so many of the checked images are explained by randomised networks


class Examination(NamedTuple):
    """What `examine` finds."""

    figures: Figures
    logits: np.ndarray  # (n, 1)
    maps: Maps  # by method and layer, (n, 2, h', w'): for the class that the network names, for the other


def examine(
    model: keras.Model,
    images: np.ndarray,
    masks: Masks,
    scope: Scope,
    *,
    seed: int,
) -> Examination:
    """Explain images, each for the class that the network names, and check these maps and maps without meaning.

    Args:
        model: maps images to one logit; its weights are shuffled meanwhile.
        images: (n, h, w, 3), pixels 0..255.
        masks: of the first of the images, which are the checked ones; the others are only explained.
        scope: what is checked.
        seed: of maps without meaning, of weights' places, of the order of equally hot pixels.

    Returns:
        Figures by method and layer; "chance" and "random" are the maps without meaning. Logits and maps.
    """
    named = {method: choose_layers_of(model, scope.layers, method) for method in scope.methods}
    explainers = Explainers(model, named)
    logits, maps = explainers.explain_answers(images)
    n = len(masks)
    answers, signs = np.abs(logits[:n, 0]), np.where(logits[:n, 0] > 0, 1, -1)
    pairs = {(method, layer): maps[method][layer][:n] for method, names in named.items() for layer in names}
    checked = {place: pair[:, 0] for place, pair in pairs.items()}
    # Noise has the shape of the last method's last maps, and lies where they lie.
    noise = np.random.default_rng(seed).random([*checked.values()][-1].shape, np.float32)
    compared = checked | {CHANCE: noise}
    cells = {place: place_cells(model, place[1]) for place in checked}
    cells[CHANCE] = [*cells.values()][-1]
    with ThreadPoolExecutor(1) as pool:  # beside the network, which leaves the cores idle between batches
        locating = pool.submit(localise, list(compared.values()), list(cells.values()), masks)
        some = slice(min(scope.n_perturbed, n))
        last = [*((method, names[-1]) for method, names in named.items()), CHANCE]
        laid = [(compared[place][some], cells[place]) for place in last]
        areas = dict(zip(last, _perturb(model, images[some], laid, signs[some], scope.n_steps, seed), strict=True))
        located = dict(zip(compared, locating.result(), strict=True))
    few = slice(min(scope.n_randomised, n))
    curves = _randomise(explainers, model, images[few], signs[few], {k: v[few] for k, v in checked.items()}, seed)
    figures: Figures = {method: {} for method in (*scope.methods, CHANCE[0])}
    for place in compared:
        row: Any = _round(areas.get(place, {}) | located[place])
        if place != CHANCE:
            row = _round(weigh_answers(pairs[place], answers, has_sum=METHODS[place[0]].unit == "logits")) | row
            *_, lowest = curves[place].values()
            row |= {"rank_correlation": lowest, "details": [{"rank_correlations": curves[place]}]}
        figures[place[0]][place[1]] = row
    return Examination(figures, logits, maps)


def choose_layers_of(model: keras.Model, layers: Sequence[str] | None, method: str) -> list[str]:
    """Choose the layers at which a method is checked: those named, or the usual ones."""
    if layers is None and METHODS[method].has_layers:
        return choose_examined_layers(model)
    return choose_layers(model, layers, method=method)


def weigh_answers(pairs: np.ndarray, answers: np.ndarray, *, has_sum: bool) -> dict[str, float]:
    """Weigh the evidence for each image's answer against that for the other class.

    Args:
        pairs: (n, 2, h', w'), >= 0: maps for the class that the network names, and for the other.
        answers: (n,), the size of each logit.
        has_sum: whether maps are in logits, so that their difference can be held against the logit.

    Returns:
        `agreement` and `logit_error`, as in LayerFigures.
    """
    totals = pairs.sum(axis=(2, 3), dtype=np.float64)  # (n, 2)
    balance = totals[:, 0] - totals[:, 1]  # (n,)
    figures = {"agreement": float((balance > 0).mean())}
    return figures | {"logit_error": float(np.abs(balance - answers).mean() / answers.mean())} if has_sum else figures


def describe_figures(figures: Figures) -> str:
    """Name the figures of the last method's last layer; `chance` is no method."""
    method, layers = list(figures.items())[-2]
    layer, measured = list(layers.items())[-1]
    return f"{method} at {layer}: " + ", ".join(f"{k} {v:.2f}" for k, v in measured.items() if isinstance(v, float))


def localise(maps: Sequence[np.ndarray], cells: Sequence[Cells | None], masks: Masks) -> list[dict[str, float]]:
    """Average by kind of mask the share of heat inside, and how many hottest spots are inside or close.

    Maps (n, h', w') of several methods, and where the cells of each lie; one row of figures for each method.
    """
    measured: list[dict[str, list[float]]] = [{} for _ in maps]
    for index, by_kind in enumerate(masks):
        if not by_kind:
            continue
        # The maps of one image, each laid on it, and the spots to which they point.
        laid = [lay_maps(of_method[index : index + 1], where)[0] for of_method, where in zip(maps, cells, strict=True)]
        spots = [checks.find_spot(heat) for heat in laid]
        shares = checks.measure_shares(np.stack(laid), list(by_kind.values()))  # (kinds, methods)
        for (kind, mask), of_kind in zip(by_kind.items(), shares, strict=True):
            for figures, spot, share in zip(measured, spots, of_kind, strict=True):
                hits = [spot is not None and checks.is_near(spot, mask, tolerance=reach) for reach in TOLERANCES]
                for name, value in zip(("share", "pointing", "pointing_strict"), (share, *hits), strict=True):
                    figures.setdefault(f"{kind}_{name}", []).append(value)
    return [{name: float(np.mean(values)) for name, values in figures.items()} for figures in measured]


def _perturb(
    model: keras.Model,
    images: np.ndarray,
    placed: Sequence[tuple[np.ndarray, Cells | None]],
    signs: np.ndarray,
    n_steps: int,
    seed: int,
) -> list[dict[str, float]]:
    """Average the areas under the curves of images (n, h, w, 3), for each method's maps (n, h', w') and their cells."""
    maps, cells = zip(*placed, strict=True)
    score = make_scorer(model, batch_size=checks.N_AT_ONCE)
    height, width = images.shape[1:3]
    # Methods with the same maps, as Grad-CAM and HiResCAM behind global pooling, are looked at once.
    firsts = [next(k for k in range(len(maps)) if _are_alike(maps[k], of_method)) for of_method in maps]
    distinct = sorted(set(firsts))

    def find_heats(index: int) -> list[np.ndarray]:
        laid = [lay_maps(maps[k][index : index + 1], cells[k])[0] for k in distinct]
        return [upsample_map(heat, height, width) for heat in laid]

    areas = checks.measure_faithfulness(
        lambda batch: compute_probabilities(score(batch))[:, 0],
        images, find_heats, signs=signs, n_steps=n_steps, seed=seed,
    )  # fmt: skip
    means = areas.mean(axis=2)  # (2, m)
    return [dict(zip(("deletion", "insertion"), means[:, distinct.index(k)], strict=True)) for k in firsts]


def _are_alike(maps: np.ndarray, others: np.ndarray) -> bool:
    """Whether each map is the other but for a factor and rounding: then both order the pixels alike."""
    if maps.shape != others.shape:
        return False
    first, second = (v / np.maximum(v.max(axis=(1, 2), keepdims=True), 1e-30) for v in (maps, others))
    return np.allclose(first, second, atol=1e-4)


def _randomise(
    explainers: Explainers,
    model: keras.Model,
    images: np.ndarray,
    signs: np.ndarray,
    maps: dict[tuple[str, str], np.ndarray],
    seed: int,
) -> dict[tuple[str, str], dict[str, float]]:
    """Correlate maps, by method and layer, with those of the network as it is randomised: {lowest layer: mean}."""
    curves: dict[tuple[str, str], dict[str, float]] = {place: {} for place in maps}
    for lowest in checks.randomise_from_top(model, seed=seed):
        _, others = explainers.explain(images, [signs])
        for (method, layer), values in maps.items():
            curves[method, layer][lowest] = float(checks.correlate_maps(values, others[method][layer][:, 0]).mean())
    return {place: _round(curve) for place, curve in curves.items()}


def _round(figures: dict[str, float]) -> Any:
    return {name: round(float(value), 4) for name, value in figures.items()}
