"""How much heat lies on a watermark that was planted on training images: does a network use the shortcut?"""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np

from cvd.data.images.pixels import load_images
from cvd.vis.examining.figures import CHANCE, Figures, Masks, Scope, choose_layers_of, localise, read_masks
from cvd.vis.explaining.geometry import place_cells
from cvd.vis.explaining.graphs import input_side
from cvd.vis.explaining.methods import Explainers

KIND = "watermark"  # of the masks
N_MARKED = 100  # training images that are explained, at most


def add_watermarks(figures: Figures, model: keras.Model, folder: Path, masks: Path, scope: Scope, *, seed: int) -> None:
    """Add what `examine_watermarks` measures to figures, where the zip of masks has watermarks."""
    if not (marked := list_marked(masks, N_MARKED)):
        return
    images = load_images(folder, marked, input_side(model))
    measured = examine_watermarks(model, images, read_masks(masks, marked, [KIND]), scope, seed=seed)
    for method, layers in measured.items():
        for layer, row in layers.items():
            figures[method][layer].update(row)


def list_marked(path: Path, n: int) -> list[str]:
    """List at most `n` images that bear a watermark, by their paths in the manifest, from the zip of masks."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removeprefix(f"{KIND}/") for name in archive.namelist() if name.startswith(f"{KIND}/")]
    return [Path(name).with_suffix(".jpg").as_posix() for name in names[:n]]


def examine_watermarks(model: keras.Model, images: np.ndarray, masks: Masks, scope: Scope, *, seed: int) -> Figures:
    """Measure the heat of images (n, h, w, 3) inside their masks of KIND, for the class that the network names.

    Returns:
        By method and layer `watermark_share`, `watermark_pointing` and `watermark_pointing_strict`. "chance" and
        "random" are maps without meaning: their share is the watermark's share of the image.
    """
    named = {method: choose_layers_of(model, scope.layers, method) for method in scope.methods}
    _, maps = Explainers(model, named).explain_answers(images)
    laid = {(method, layer): maps[method][layer][:, 0] for method, names in named.items() for layer in names}
    cells = [place_cells(model, layer) for _, layer in laid]
    laid[CHANCE] = np.random.default_rng(seed).random([*laid.values()][-1].shape, np.float32)
    figures: Figures = {method: {} for method in (*scope.methods, CHANCE[0])}
    located = localise(list(laid.values()), [*cells, cells[-1]], masks)
    for (method, layer), row in zip(laid, located, strict=True):
        measured = {name: round(float(value), 4) for name, value in row.items()}
        figures[method][layer] = measured  # type: ignore[assignment]
    return figures
