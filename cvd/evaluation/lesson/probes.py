"""Probes in numbers and words: accuracy of each network against each change of the test images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cvd.evaluation.statistics import wilson_interval
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import format_percent, format_points

COLUMNS = ("probe", "level", "variant", "n_right", "n_images", "accuracy", "low", "high")
TITLES = {
    "shift_px": "pixels of shift, of 150",
    "rotation_degrees": "degrees of rotation",
    "brightness_fraction": "change of brightness",
    "blur_px": "pixels of blur, of 150",
    "background": "background",
}


def make_row(probe: str, level: Any, variant: str, right: np.ndarray) -> dict[str, Any]:
    """Make a row of COLUMNS from which images (n,), bool, are right; intervals are Wilson's, 95%."""
    n_right, n = int(right.sum()), len(right)
    low, high = (float(bound) for bound in wilson_interval(n_right, n))
    return dict(zip(COLUMNS, (probe, level, variant, n_right, n, n_right / n, low, high), strict=True))


def measure_loss(table: pd.DataFrame, probe: str, variant: str) -> float:
    """Measure what a network loses: accuracy on images as they are, minus the mean over all changed levels."""
    rows = table[(table["probe"] == probe) & (table["variant"] == variant)]
    return float(rows["accuracy"].iloc[0] - rows["accuracy"].iloc[1:].mean())


def describe_probes(table: pd.DataFrame) -> list[str]:
    """Describe each probe in a sentence: who loses least and most of its accuracy, averaged over its levels."""
    sentences = []
    for probe in dict.fromkeys(table["probe"]):
        if probe != "background":
            names: Sequence[str] = list(dict.fromkeys(table["variant"]))
            losses = sorted((measure_loss(table, probe, name), name) for name in names)
            before = table[table["probe"] == probe].groupby("variant")["accuracy"].first()
            said = ", ".join(
                f"{name} {format_points(-loss)} from {format_percent(before[name])}" for loss, name in losses
            )
            sentences.append(f"{TITLES[probe]}, points on average: {said}.")
    return sentences


def render_probes(table: pd.DataFrame) -> str:
    """Render a table for each probe, a row for each network and a column for each level, and the sentences."""
    parts = []
    for probe, rows in table.groupby("probe", sort=False):
        levels = list(dict.fromkeys(rows["level"]))
        cells = [
            [str(name), *map(format_percent, accuracies)]
            for name, accuracies in rows.groupby("variant", sort=False)["accuracy"]
        ]
        parts.append(render_table([TITLES[str(probe)], *(f"{level}" for level in levels)], cells))
    parts.append("\n".join(f"- {sentence}" for sentence in describe_probes(table)))
    return "\n\n".join(parts) + "\n"
