"""Ascents of filters in figures and words: how far the pictures came, beside the strongest real patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvd.vis.filters.ascent import Ascent
from cvd.vis.filters.patches import Patches


def label_filters(ascent: Ascent) -> list[str]:
    """Write a line for each picture: its filter, its mean activation, and how often that of its strongest patch."""
    return [_label_filter(ascent, index) for index in range(len(ascent.filters))]


def _label_filter(ascent: Ascent, index: int) -> str:
    name = f"{ascent.filters[index]}"
    if ascent.is_dead[index]:
        return f"{name}: dead"
    line = f"{name}: {round_activation(ascent.highest[index])}"
    if not ascent.strongest.shape[1]:
        return line
    ratio = compare_patch(ascent)[index]
    beside = f"{ratio:.2f} × patch" if ratio < 9.995 else f"{ratio:.0f} × patch"
    return f"{line}, {beside if np.isfinite(ratio) else 'patches 0'}{', from it' * (ascent.starts[index] == 'patch')}"


def compare_patch(ascent: Ascent) -> np.ndarray:
    """Divide each picture's mean activation by that of its strongest patch, (n,); inf where that is not above 0."""
    strongest = ascent.strongest[:, 0]
    return np.where(strongest > 0, ascent.highest / np.where(strongest > 0, strongest, 1), np.inf)


def describe_layer(ascent: Ascent, patches: Patches, *, n_filters: int, paths: Sequence[str]) -> dict[str, Any]:
    """Give the figures for JSON: `n_filters` are in the whole layer, `paths` are the images of the patches."""
    return {
        "n_filters": n_filters,
        "n_dead": int(ascent.is_dead.sum()),
        "filters": [
            {
                "filter": int(ascent.filters[index]),
                "start": str(ascent.starts[index]),
                "before": float(ascent.objectives[index, 0]),
                "after": float(ascent.highest[index]),
                "dead": bool(ascent.is_dead[index]),
                "objectives": [float(f"{value:.4g}") for value in ascent.objectives[index] if np.isfinite(value)],
                "patches": _describe_patches(ascent, patches, paths, index),
            }
            for index in range(len(ascent.filters))
        ],
    }


def _describe_patches(ascent: Ascent, patches: Patches, paths: Sequence[str], index: int) -> list[dict[str, Any]]:
    return [
        {
            "path": paths[patches.images[index, place]],
            "row": int(patches.corners[index, place, 0]),
            "column": int(patches.corners[index, place, 1]),
            "objective": float(mean),
        }
        for place, mean in zip(ascent.ranks[index], ascent.strongest[index], strict=True)
    ]


def describe_sheet(ascent: Ascent, *, variant: str, recipe: str, n_images: int) -> list[str]:
    """Say what a sheet shows, in lines: how it was made, what stands where, how the pictures compare to the patches."""
    n_steps = int(np.isfinite(ascent.objectives).sum(axis=1).max()) - 1
    n_dead = int(ascent.is_dead.sum())
    made = f"{variant}   ·   {recipe}, {n_steps} steps or fewer   ·   {n_dead} of {len(ascent.filters)} dead"
    is_first = ascent.kernels.shape[1] > 0
    kernel, part = ("kernel (grey: 0), ", " (a part, 6 times enlarged)") if is_first else ("", "")
    shown = f"{kernel}picture that excites the filter{part}, the patches of {n_images} test images that do so most"
    return [
        made,
        shown,
        "under each: filter, mean activation of its picture, how many times that of its strongest patch",
    ]


def summarise(variant: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in a line how many filters are dead, and how the others' pictures compare with their strongest patches."""
    filters = [line for layer in figures.values() for line in layer["filters"]]
    alive = [line for line in filters if not line["dead"]]
    below = sum(line["after"] < max(patch["objective"] for patch in line["patches"]) for line in alive)
    start = f"{variant}: {len(filters)} filters of {len(figures)} layers, {len(filters) - len(alive)} dead"
    return f"{start}; {below} pictures excite their filter less than its strongest test patch does"


def round_activation(value: float) -> str:
    """Round to two significant digits, or to a whole number, without zeros that only fill: 0.00012 is 1.2e-4."""
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(power)}"
    return f"{value:.0f}" if abs(value) >= 9.95 else f"{value:#.2g}"
