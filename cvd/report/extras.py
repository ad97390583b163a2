"""What the report shows where it is there: what became of the source's files, and figures on the maps."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pandas as pd

N_NAMED = 8  # rows of the quarantine that are written out
# Figures of metrics/explanations/: name, heading, what it says; first whether a map is true to its network.
FAITHFUL = (
    ("agreement", "agrees with the answer", "Share of images with more heat for the class named than for the other."),
    ("logit_error", "misses the logit by", "Mean distance of their difference from the logit: 0 adds up."),
    ("deletion", "deletion", "Mean probability as the hottest pixels are taken away: low for a good map."),
    ("insertion", "insertion", "Mean probability as the hottest pixels are given: high for a good map."),
    ("rank_correlation", "correlation with an unlearnt network", "A map that stays as it is tells nothing."),
)  # fmt: skip
# Whether a map is plausible to a person, who knows where the animal is. A network may be right for other reasons.
PLAUSIBLE = (
    ("animal_pointing", "hottest spot on the animal", "Share of images with the hottest spot on it, or near."),
    ("animal_pointing_strict", "the same, strictly", "On it. Near is within 3% of the longer side."),
    ("animal_share", "heat on the animal", "Share of all heat that lies on the animal."),
    ("head_pointing", "hottest spot on the head", "Share of images whose hottest spot lies on the head."),
    ("head_share", "heat on the head", "Share of all heat that lies on the head."),
)  # fmt: skip
CHANCE = "chance"  # stands for the method of maps without meaning
CONTRADICTING = 0.9  # agreement below which the report warns
FLOATING = 0.005  # deletion and insertion are means over a few hundred images: less is luck


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

    groups: list[tuple[str, int]]  # headings over columns, and how many columns each is over
    columns: list[dict[str, str]]
    rows: list[dict[str, Any]]
    warnings: list[str]
    verdicts: list[str]


Explanations = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""metrics/explanations/: {variant: {method: {layer: {figure: value}}}}; the method `chance` is noise."""


def summarise_intake(summary: DataSummary | None, quarantine: pd.DataFrame | None) -> Intake | None:
    """Summarise what became of the source's files, from metrics/data.json and data/quarantine.csv."""
    if summary is None:
        return None
    named: list[Any] = [] if quarantine is None else quarantine.head(N_NAMED).to_dict("records")
    return {**summary, "named": named, "n_unnamed": summary["quarantined"] - len(named)}


def list_explanations(explanations: Explanations) -> MapTable | None:
    """List the maps' figures: the columns that any map has, a row for each variant and method by its last layer."""
    rows = [
        {"variant": variant, "method": method, "layer": layer, **figures}
        for variant, methods in explanations.items()
        for method, layers in methods.items()
        for layer, figures in list(layers.items())[-1:]
    ]
    groups, columns = [], []
    for heading, group in (("true to the network", FAITHFUL), ("plausible to a person", PLAUSIBLE)):
        present = [figure for figure in group if any(figure[0] in row for row in rows)]
        columns += [{"name": name, "heading": heading, "text": text} for name, heading, text in present]
        groups += [(heading, len(present))] if present else []
    if not columns:
        return None
    by_variant = {name: [row for row in rows if row["variant"] == name] for name in explanations}
    warnings = [warning for group in by_variant.values() for warning in warn_of_maps(group)]
    verdicts = [verdict for group in by_variant.values() if (verdict := choose_faithful(group))]
    return {"groups": groups, "columns": columns, "rows": rows, "warnings": warnings, "verdicts": verdicts}


def warn_of_maps(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warn of methods whose maps of one network are no better than noise, or contradict its answers."""
    warnings = []
    chance = next((row for row in rows if row["method"] == CHANCE), {})
    for row in rows:
        if row is chance:
            continue
        faults = [
            f"{name} {row[name]:.2f}, noise {chance[name]:.2f}, {better} is better"
            for name, sign, better in (("deletion", 1, "less"), ("insertion", -1, "more"))
            if name in row and name in chance and sign * (row[name] - chance[name]) > -FLOATING
        ]
        where = f"{row['variant']}: {row['method']} at {row['layer']}"
        if faults:
            warnings.append(f"{where} is no better than chance ({'; '.join(faults)}).")
        if row.get("agreement", 1) < CONTRADICTING:
            share = f"{1 - row['agreement']:.0%}"
            warnings.append(f"{where} contradicts the network: in {share} of images the other class has more heat.")
    return warnings


def choose_faithful(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Say which method's maps of one network are best by deletion and insertion; None where none was measured."""
    measured = [row for row in rows if row["method"] != CHANCE and {"deletion", "insertion"} <= set(row)]
    if not measured:
        return None
    gaps = {row["method"]: row["insertion"] - row["deletion"] for row in measured}
    most = max(gaps.values())
    best = [name for name, gap in gaps.items() if gap > most - FLOATING]
    return f"{measured[0]['variant']}: truest by insertion minus deletion: {', '.join(best)} ({most:.2f})."
