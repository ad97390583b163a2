"""What the report shows where it is there: what became of the source's files, other networks, figures on the maps."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cvd.evaluation.measures import is_right, read_predictions
from cvd.evaluation.sizes import COLUMNS
from cvd.runtime.errors import InputError

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


def read_optional(path: Path) -> dict[str, Any] | None:
    """A JSON file, or None where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def tell_intake(summary: Mapping[str, Any] | None, quarantine: pd.DataFrame | None) -> dict[str, Any] | None:
    """What became of the files of the source: of metrics/data.json and data/quarantine.csv; None without the former."""
    if summary is None:
        return None
    named: list[Any] = [] if quarantine is None else quarantine.head(N_NAMED).to_dict("records")
    return {**summary, "named": named, "n_unnamed": summary.get("quarantined", len(named)) - len(named)}


def tell_explanations(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The table of the maps' figures: columns, those that any map has; a row for each variant, method and layer.

    Args:
        found: metrics/explanations.json, {variant: {method: {layer: {figure: value}}}}; `chance` beside the methods is
            what a map without meaning would get.
    """
    if not found:
        return None
    rows = [
        {"variant": variant, "method": method, "layer": layer, **figures}
        for variant, methods in found.items()
        for method, layers in methods.items()
        for layer, figures in layers.items()
    ]
    columns = [
        {"name": name, "heading": heading, "text": text}
        for name, heading, text in FIGURES
        if any(isinstance(row.get(name), int | float) for row in rows)
    ]
    return {"columns": columns, "rows": rows} if columns else None


def find_others(metrics_folder: Path, predictions: Path, compared: Sequence[str]) -> list[dict[str, Any]]:
    """Variants that were evaluated beside the compared ones on the same test images, best first.

    What lies there from another split, or does not fit its predictions, is left out.
    """
    if not compared or not (predictions / f"{compared[0]}.csv").is_file():
        return []
    reference = _read_test(predictions / f"{compared[0]}.csv")[["path", "label"]]
    rows = []
    for path in sorted(predictions.glob("*.csv")):
        metrics = read_optional(metrics_folder / f"{path.stem}.json")
        if path.stem in compared or metrics is None:
            continue
        with contextlib.suppress(InputError, KeyError, TypeError):
            test = _read_test(path)
            accuracy = is_right(test["label"].to_numpy(), test["logit"].to_numpy()).mean()
            if test[["path", "label"]].equals(reference) and accuracy == metrics["test"]["accuracy"]:
                rows.append({"variant": path.stem, **_pick(metrics)})
    return sorted(rows, key=lambda row: -row["accuracy"])


def _read_test(path: Path) -> pd.DataFrame:
    frame = read_predictions(path)
    return frame[frame["split"] == "test"].reset_index(drop=True)


def _pick(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: metrics["test"][name] for name in ("accuracy", "accuracy_low", "accuracy_high", "loss")},
        "train_accuracy": metrics["train"]["accuracy"],
        "validation_accuracy": metrics["validation"]["accuracy"],
        **{name: metrics["overfitting"][name] for name in ("accuracy_gap", "best_epoch", "onset_epoch")},
        "epochs": metrics["training"]["epochs"],
        "parameters": metrics["training"]["parameters"],
    }


def read_sizes(folder: Path) -> pd.DataFrame | None:
    """The tables of the sizes stage, one below the other, or None where there is none.

    Raises:
        InputError: a file is no such table.
    """
    tables = [_read_sizes(path) for path in sorted(folder.glob("*/sizes.csv"))]
    return pd.concat(tables, ignore_index=True) if tables else None


def _read_sizes(path: Path) -> pd.DataFrame:
    whole = {"n_images": int, "epochs": int}
    try:
        table = pd.read_csv(path, dtype={**dict.fromkeys(COLUMNS, float), **whole, "variant": str})
    except (OSError, ValueError) as error:
        raise _refuse_sizes(path) from error
    if tuple(table) != COLUMNS or len(table) < 2 or table.isna().any(axis=None):
        raise _refuse_sizes(path)
    return table


def _refuse_sizes(path: Path) -> InputError:
    name = path.parent.name
    return InputError(
        f"{path} is not a table of the stage sizes: make it anew with `dvc repro -f sizes@{name}`, or remove its folder"
    )
