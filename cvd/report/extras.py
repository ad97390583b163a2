"""What the report shows where it is there: what became of the source's files, and figures on the maps."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

N_NAMED = 8  # rows of the quarantine that are written out
# Figures of metrics/explanations.json: name, heading, what it says.
FIGURES = (
    ("animal_pointing", "hottest spot on the animal", "Share of images whose hottest spot lies on the animal."),
    ("animal_share", "heat on the animal", "Share of all heat that lies on the animal."),
    ("head_pointing", "hottest spot on the head", "Share of images whose hottest spot lies on the head."),
    ("head_share", "heat on the head", "Share of all heat that lies on the head."),
    ("deletion", "deletion", "Mean probability as the hottest pixels are taken away: low for a good map."),
    ("insertion", "insertion", "Mean probability as the hottest pixels are given: high for a good map."),
    ("rank_correlation", "correlation with an unlearnt network", "A map that stays as it is tells nothing."),
)  # fmt: skip


def summarise_intake(summary: Mapping[str, Any] | None, quarantine: pd.DataFrame | None) -> dict[str, Any] | None:
    """Summarise what became of the source's files, from metrics/data.json and data/quarantine.csv."""
    if summary is None:
        return None
    named: list[Any] = [] if quarantine is None else quarantine.head(N_NAMED).to_dict("records")
    return {**summary, "named": named, "n_unnamed": summary.get("quarantined", len(named)) - len(named)}


def list_explanations(explanations: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """List the maps' figures: `columns`, those that any map has; `rows`, one for each variant, method and layer.

    metrics/explanations.json is {variant: {method: {layer: {figure: value}}}}; the method `chance` is noise.
    """
    if not explanations:
        return None
    rows = [
        {"variant": variant, "method": method, "layer": layer, **figures}
        for variant, methods in explanations.items()
        for method, layers in methods.items()
        for layer, figures in layers.items()
    ]
    columns = [
        {"name": name, "heading": heading, "text": text}
        for name, heading, text in FIGURES
        if any(isinstance(row.get(name), int | float) for row in rows)
    ]
    return {"columns": columns, "rows": rows} if columns else None
