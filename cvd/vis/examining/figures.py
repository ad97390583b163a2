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
from cvd.vis.explaining.geometry import Cells, lay_maps, place_cells
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
from cvd.vis.explaining.methods import Explainers, choose_layers

MASKS = ("animal", "head")
TOLERANCES = (checks.TOLERANCE, 0.0)  # of the pointing game, and of the strict one
N_AHEAD = 32  # images whose masks are decoded at once
Masks = Sequence[dict[str, np.ndarray]]  # of each image by kind, (h, w) bool


class Curve(TypedDict):
    """Rank correlations with the maps of randomised networks, by the lowest shuffled layer, from the top down."""

    rank_correlations: dict[str, float]


class LayerFigures(TypedDict, total=False):
    """Figures of a method's maps at a layer: means over images. Those of masks are there where images have masks."""

    animal_share: float  # of heat inside the mask
    animal_pointing: float  # share of images whose hottest spot is inside the mask or close
    animal_pointing_strict: float  # inside the mask
    head_share: float
    head_pointing: float
    head_pointing_strict: float
    deletion: float  # areas under the curves of probability
    insertion: float
    rank_correlation: float  # with the maps of the network whose layers are all shuffled
    details: list[Curve]


Figures = dict[str, dict[str, LayerFigures]]  # by method and layer


def read_masks(path: Path, images: Sequence[str]) -> Masks:
    """Read the masks that images have, by their paths in the manifest; empty ones are left out."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        members = [{kind: f"{kind}/{Path(image).with_suffix('.png').as_posix()}" for kind in MASKS} for image in images]
        encoded = ({kind: archive.read(name) for kind, name in named.items() if name in names} for named in members)
        return list(map_ahead(_decode_masks, encoded, n_ahead=N_AHEAD))


def _decode_masks(encoded: dict[str, bytes]) -> dict[str, np.ndarray]:
    grey = {kind: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) for kind, data in encoded.items()}
    masks = {kind: np.asarray(pixels) > 127 for kind, pixels in grey.items()}
    return {kind: mask for kind, mask in masks.items() if mask.any()}


class Examination(NamedTuple):
    """What `examine` finds."""

    figures: Figures
    logits: np.ndarray  # (n, 1)
    maps: dict[str, dict[str, np.ndarray]]  # by method and layer, (n, h', w'), of the class that the network names


def examine(
    model: keras.Model,
    images: np.ndarray,
    masks: Masks,
    *,
    methods: Sequence[str],
    layers: Sequence[str] | None,
    n_perturbed: int,
    seed: int,
) -> Examination:
    """Explain images, each for the class that the network names, and check these maps and maps without meaning.

    Args:
        model: maps images to one logit; its weights are shuffled meanwhile.
        images: (n, h, w, 3), pixels 0..255.
        masks: of the first of the images, which are the checked ones; the others are only explained.
        methods: as of `methods.METHODS`.
        layers: names of layers; None: the last that is chosen.
        n_perturbed: so many of the checked images are perturbed, and explained by randomised networks.
        seed: of maps without meaning, of weights' places, of the order of equally hot pixels.

    Returns:
        Figures by method and layer; "chance" and "random" are the maps without meaning. Logits and maps.
    """
    named = {method: choose_layers(model, layers, method=method) for method in methods}
    named = {method: names if layers else names[-1:] for method, names in named.items()}
    explainers = Explainers(model, named)
    logits, maps = explainers.explain(images)
    places = [(method, layer) for method, names in named.items() for layer in names]
    checked = [maps[method][layer][: len(masks)] for method, layer in places]
    # Noise has the shape of the last method's maps, lies where they lie, and is measured in the last row.
    noise = np.random.default_rng(seed).random(checked[-1].shape, np.float32)
    cells = [place_cells(model, layer) for _, layer in (*places, places[-1])]
    some = slice(min(n_perturbed, len(masks)))
    signs = np.where(logits[some, 0] > 0, 1, -1)
    laid = [lay_maps(values[some], where) for values, where in zip((*checked, noise), cells, strict=True)]
    with ThreadPoolExecutor(1) as pool:  # beside the network, which leaves the cores idle between batches
        locating = pool.submit(_localise, [*checked, noise], cells, masks)
        areas = _perturb(model, images[some], laid, signs, seed)
        located = locating.result()
    rows = [_round(place | area) for place, area in zip(located, areas, strict=True)]
    figures: Figures = {method: {} for method in methods} | {"chance": {"random": rows[-1]}}
    first = {place: values[some] for place, values in zip(places, checked, strict=True)}
    curves = _randomise(explainers, model, images[some], signs, first, seed)
    for (method, layer), row in zip(places, rows[:-1], strict=True):
        curve = curves[method, layer]
        *_, last = curve.values()
        figures[method][layer] = row | {"rank_correlation": last, "details": [{"rank_correlations": curve}]}
    return Examination(figures, logits, maps)


def _localise(maps: Sequence[np.ndarray], cells: Sequence[Cells | None], masks: Masks) -> list[dict[str, float]]:
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
    model: keras.Model, images: np.ndarray, maps: Sequence[np.ndarray], signs: np.ndarray, seed: int
) -> list[dict[str, float]]:
    """Average the areas under the curves of images (n, h, w, 3), for each method's maps (n, h, w)."""
    score = make_scorer(model, batch_size=checks.N_AT_ONCE)
    areas = checks.measure_faithfulness(
        lambda batch: compute_probabilities(score(batch))[:, 0], images, maps, signs=signs, seed=seed
    )
    return [dict(zip(("deletion", "insertion"), pair, strict=True)) for pair in areas.mean(axis=2).T]


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
        _, others = explainers.explain(images, signs)
        for (method, layer), values in maps.items():
            curves[method, layer][lowest] = float(checks.correlate_maps(values, others[method][layer]).mean())
    return {place: _round(curve) for place, curve in curves.items()}


def _round(figures: dict[str, float]) -> Any:
    return {name: round(float(value), 4) for name, value in figures.items()}
