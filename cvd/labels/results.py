"""Which labels are suspect, how many, and what planting says of it: metrics/labels.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from cvd.data.examples import reading
from cvd.data.images.manifest import PLANTED
from cvd.labels.ranking import Answers, find_suspects
from cvd.labels.tables import PLAUSIBLE, SUSPECT
from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import SPLITS, name_classes


def read_features(folder: Path, manifest: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the features of all splits: the manifest's rows in their order, and (n, k) float32.

    Raises:
        InputError: the features are missing or damaged, or of other images than the manifest's.
    """
    parts = [reading.read_features(folder, split) for split in SPLITS]
    paths = [path for part in parts for path in part.paths]
    rows = manifest[manifest["split"].isin(SPLITS)].set_index("path")
    if set(paths) != set(rows.index):
        raise InputError(f"{folder} is of other images than the manifest: run `dvc repro features`")
    features = np.concatenate([part.fetch(np.arange(len(part))) for part in parts])
    return rows.loc[paths].reset_index(), features


def tabulate_labels(rows: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """Tabulate `tables.COLUMNS` and `split`, `fold`, `planted` beside them, the most suspicious label first.

    `label` is the given one, `probability` that of the second class, `score` that of the given label.
    """
    scores, is_suspect = find_suspects(rows["label"].to_numpy(), answers.probabilities)
    table = rows[["path", "label", "split", *([PLANTED] if PLANTED in rows else [])]].assign(
        probability=answers.probabilities,
        score=scores,
        verdict=np.where(is_suspect, SUSPECT, PLAUSIBLE),
        fold=answers.folds,
    )
    return table.sort_values(["score", "path"], kind="stable").reset_index(drop=True)


def summarise_labels(table: pd.DataFrame) -> dict[str, Any]:
    """Summarise a table of `tabulate_labels` as metrics/labels.json.

    Returns:
        `images`, `suspects`, `agreement`: the share of given labels that the answers agree with. `splits`: {split:
        {class: counts}} by the given label; `by_chance` is how many suspects there would be, were they spread evenly.
        `planted`, where labels were exchanged on purpose: how well they were found among the training images, and
        `all_splits`, among all images.
    """
    is_suspect, classes = table["verdict"] == SUSPECT, name_classes(table["path"], table["label"])
    splits: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        for label, name in enumerate(classes):
            cell = (table["split"] == split) & (table["label"] == label)
            by_chance = round(float(is_suspect.mean() * cell.sum()), 2)
            counts = {"images": int(cell.sum()), "suspects": int((cell & is_suspect).sum()), "by_chance": by_chance}
            splits[split][name] = counts
    summary: dict[str, Any] = {
        "images": len(table),
        "suspects": int(is_suspect.sum()),
        "agreement": float((table["score"] > 0.5).mean()),
        "splits": splits,
    }
    if PLANTED in table and table[PLANTED].any():
        summary["planted"] = _grade_ranking(table[table["split"] == "train"])
        summary["planted"]["all_splits"] = _grade_ranking(table)
    return summary


def _grade_ranking(table: pd.DataFrame) -> dict[str, Any]:
    """Hold a ranking, the most suspicious first, against what was planted; `by_chance` is the share planted."""
    planted, suspect = ((table[name] == value).to_numpy() for name, value in ((PLANTED, 1), ("verdict", SUSPECT)))
    n_planted, n_hit = int(planted.sum()), int((planted & suspect).sum())
    return {
        "labels": n_planted,
        "among": len(table),
        "by_chance": n_planted / len(table),
        "average_precision": float(average_precision_score(planted, -table["score"])),
        "recall_at_planted": float(planted[:n_planted].mean()),  # among as many of the worst as were planted
        "suspects": int(suspect.sum()),
        "precision": n_hit / int(suspect.sum()) if suspect.any() else None,
        "recall": n_hit / n_planted,
    }


def describe_labels(summary: dict[str, Any]) -> str:
    """Say in a line how many labels are suspect, and how many of the planted ones were found."""
    line = f"{summary['suspects']:,} of {summary['images']:,} labels are suspect"
    if planted := summary.get("planted"):
        found = f"recall {planted['recall']:.2f}, average precision {planted['average_precision']:.3f}"
        line += f"; of {planted['labels']:,} exchanged on purpose: {found}"
    return line
