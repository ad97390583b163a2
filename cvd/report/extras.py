"""What the report shows where it is there: what became of the source's files, and figures on the maps."""

from collections.abc import Mapping
from typing import Any, TypedDict

import pandas as pd

N_NAMED = 8  # rows of the quarantine that are written out
# Figures of metrics/explanations/: name, heading, what it says.
FIGURES = (
    ("animal_pointing", "hottest spot on the animal", "Share of images whose hottest spot lies on the animal."),
    ("animal_share", "heat on the animal", "Share of all heat that lies on the animal."),
    ("head_pointing", "hottest spot on the head", "Share of images whose hottest spot lies on the head."),
    ("head_share", "heat on the head", "Share of all heat that lies on the head."),
    ("deletion", "deletion", "Mean probability as the hottest pixels are taken away: low for a good map."),
    ("insertion", "insertion", "Mean probability as the hottest pixels are given: high for a good map."),
    ("rank_correlation", "correlation with an unlearnt network", "A map that stays as it is tells nothing."),
)  # fmt: skip


class DataSummary(TypedDict):
    """What the page tells of metrics/data.json: numbers of images, `reasons` and `normalised` by word."""

    members: int
    images: int
    quarantined: int
    reasons: dict[str, int]
    normalised: dict[str, int]
    near_duplicates: dict[str, Any]  # groups, images, of_both_classes, left_out


class Intake(DataSummary):
    """What became of the source's files; `named` are the first rows of data/quarantine.csv."""

    named: list[dict[str, str]]
    n_unnamed: int


class MapTable(TypedDict):
    """Figures of the maps: columns have `name`, `heading`, `text`; rows `variant`, `method`, `layer`, and figures."""

    columns: list[dict[str, str]]
    rows: list[dict[str, Any]]


Explanations = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""metrics/explanations/: {variant: {method: {layer: {figure: value}}}}; the method `chance` is noise."""


def summarise_intake(summary: DataSummary | None, quarantine: pd.DataFrame | None) -> Intake | None:
    """Summarise what became of the source's files, from metrics/data.json and data/quarantine.csv."""
    if summary is None:
        return None
    named: list[Any] = [] if quarantine is None else quarantine.head(N_NAMED).to_dict("records")
    return {**summary, "named": named, "n_unnamed": summary["quarantined"] - len(named)}


def list_explanations(explanations: Explanations) -> MapTable | None:
    """List the maps' figures: the columns that any map has, and a row for each variant, method and layer."""
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
        if any(name in row for row in rows)
    ]
    return {"columns": columns, "rows": rows} if columns else None
