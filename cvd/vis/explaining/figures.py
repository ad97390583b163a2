"""The figures of a network's heat maps: every check, for every method and layer."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, cast

import keras
import numpy as np
from PIL import Image

from cvd.vis.explaining import checks
from cvd.vis.explaining.geometry import align_maps
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
from cvd.vis.explaining.methods import choose_layers, make_explainer

MASKS = ("animal", "head")
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
    masks = []
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        for image in images:
            members = {kind: f"{kind}/{Path(image).with_suffix('.png').as_posix()}" for kind in MASKS}
            decoded = {kind: _decode_mask(archive.read(name)) for kind, name in members.items() if name in names}
            masks.append({kind: mask for kind, mask in decoded.items() if mask.any()})
    return masks


def _decode_mask(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L")) > 127


def check_explanations(
    model: keras.Model,
    images: Sequence[np.ndarray],
    masks: Masks,
    *,
    methods: Sequence[str],
    layers: Sequence[str] | None,
    n_perturbed: int,
    seed: int,
) -> Figures:
    """Check a network's heat maps, each for the class that the network names, and maps without meaning.

    `images` are (h, w, 3), uint8, as the model takes them. Without `layers`, the last one that is chosen is checked.
    `n_perturbed` of the images are perturbed, and explained by randomised networks.

    Returns:
        Figures by method and layer; "chance" and "random" are the maps without meaning.
    """
    pixels = np.stack(images).astype(np.float32)
    score = make_scorer(model)
    signs = np.where(score(pixels)[:, 0] > 0, 1, -1)
    some = slice(n_perturbed)

    def measure(maps: np.ndarray, layer: str) -> LayerFigures:
        laid = align_maps(model, layer, maps)
        areas = checks.measure_faithfulness(
            lambda batch: compute_probabilities(score(batch))[:, 0],
            pixels[some],
            laid[some],
            signs=signs[some],
            seed=seed,
        )
        deletion, insertion = (float(area.mean()) for area in areas)
        rounded = _round(_localise(laid, masks) | {"deletion": deletion, "insertion": insertion})
        return cast("LayerFigures", rounded)

    figures: Figures = {}
    for method in methods:
        names = choose_layers(model, layers, method=method)
        names = names if layers else names[-1:]
        (maps,) = make_explainer(model, names, method=method)(pixels, [signs])
        figures[method] = {name: measure(maps[name], name) for name in names}
        first = {name: maps[name][some] for name in names}
        for name, curve in _randomise(model, pixels[some], first, signs=signs[some], method=method, seed=seed).items():
            *_, last = curve.values()
            figures[method][name] |= {"rank_correlation": last, "details": [{"rank_correlations": curve}]}
    noise = np.random.default_rng(seed).random(maps[names[-1]].shape, np.float32)
    return figures | {"chance": {"random": measure(noise, names[-1])}}


def _localise(maps: np.ndarray, masks: Masks) -> dict[str, float]:
    """Average by kind of mask the share of heat inside, and how many hottest spots are inside or close."""
    figures = {}
    for kind in MASKS:
        pairs = [(heat, by_kind[kind]) for heat, by_kind in zip(maps, masks, strict=True) if kind in by_kind]
        if pairs:
            figures[f"{kind}_share"] = float(np.mean([checks.measure_share(*pair) for pair in pairs]))
            figures[f"{kind}_pointing"] = float(np.mean([checks.is_hit(*pair) for pair in pairs]))
            figures[f"{kind}_pointing_strict"] = float(np.mean([checks.is_hit(*pair, tolerance=0) for pair in pairs]))
    return figures


def _randomise(
    model: keras.Model, images: np.ndarray, maps: dict[str, np.ndarray], *, signs: np.ndarray, method: str, seed: int
) -> dict[str, dict[str, float]]:
    """Correlate each layer's maps with those of the network as it is randomised: {lowest shuffled layer: mean}."""
    curves: dict[str, dict[str, float]] = {layer: {} for layer in maps}
    explain = None
    for lowest, shuffled in checks.randomise_from_top(model, seed=seed):
        explain = explain or make_explainer(shuffled, list(maps), method=method)  # reads the weights as they are
        (others,) = explain(images, [signs])
        for layer, curve in curves.items():
            curve[lowest] = float(checks.correlate_maps(maps[layer], others[layer]).mean())
    return {layer: _round(curve) for layer, curve in curves.items()}


def _round(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}
