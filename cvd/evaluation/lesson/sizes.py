"""Learning curves against data size: the same training on ever more of the training images. No TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cvd.evaluation.comparison import align_test_images
from cvd.evaluation.figures import Metrics
from cvd.evaluation.measures import is_right
from cvd.evaluation.statistics import bootstrap_accuracies, find_interval
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import format_percent, format_points

COLUMNS = (
    *("variant", "n_images", "epochs", "train", "validation", "test", "test_low", "test_high", "gap"),
    *("difference", "difference_low", "difference_high"),
)
CAVEAT = "Each number of images is one training from one seed: the intervals leave out the luck of training."


def find_bases(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Find variants trained on a share of the images: {variant: the one whose block differs only in share 1}."""
    wholes = {name: {**block, "share": 1.0} for name, block in blocks.items() if block["share"] < 1}
    bases = {name: [other for other in blocks if blocks[other] == whole] for name, whole in wholes.items()}
    return {name: others[0] for name, others in bases.items() if others}


def tabulate_sizes(
    bases: Mapping[str, str],
    metrics: Mapping[str, Metrics],
    predictions: Mapping[str, pd.DataFrame],
    *,
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame | None:
    """Tabulate the networks of each base of `find_bases`: a row for each number of training images, in order.

    Returns:
        `COLUMNS`, or None without bases: accuracies of the saved model on clean images, with Wilson's 95% interval for
        test; `difference` is the base's test accuracy minus the row's, with the paired bootstrap's 95% interval.
    """
    tables = []
    for base in dict.fromkeys(bases.values()):
        names = [base, *(name for name in bases if bases[name] == base)]
        tests = align_test_images({name: predictions[name] for name in names})
        right = np.array([is_right(test) for test in tests.values()])  # (variants, images), the base first
        accuracies = bootstrap_accuracies(right, n_bootstrap=n_bootstrap, seed=seed)  # (replicates, variants)
        rows = []
        for i, figures in enumerate(metrics[name] for name in names):
            low, high = find_interval(accuracies[:, 0] - accuracies[:, i])
            rows.append(
                {
                    "variant": base,
                    "n_images": figures["train"]["details"][0]["n_images"],
                    "epochs": figures["training"]["epochs"],
                    "train": figures["train"]["accuracy"],
                    "validation": figures["validation"]["accuracy"],
                    "test": figures["test"]["accuracy"],
                    "test_low": figures["test"]["accuracy_low"],
                    "test_high": figures["test"]["accuracy_high"],
                    "gap": figures["overfitting"]["accuracy_gap"],
                    "difference": float((right[0].sum() - right[i].sum()) / right.shape[1]),
                    "difference_low": low,
                    "difference_high": high,
                }
            )
        tables.append(pd.DataFrame(rows).sort_values("n_images"))
    return pd.concat(tables, ignore_index=True) if tables else None


def describe_sizes(table: pd.DataFrame) -> list[str]:
    """One plain sentence for each variant, what more images did, and one on how far to trust them all."""
    sentences = []
    for variant, rows in table.groupby("variant", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        times = f"{last['n_images'] / first['n_images']:.3g}"
        gaps = [format_points(row["gap"], sign=False) for row in (first, last)]
        points, low, high = (format_points(first[f"difference{end}"]) for end in ("", "_low", "_high"))
        is_clear = first["difference_low"] > 0 or first["difference_high"] < 0
        evidence = "more than luck with the test images explains" if is_clear else "it may be luck with the test images"
        sentences.append(
            f"{variant}: {times} times the images ({first['n_images']:,} to {last['n_images']:,}) take test accuracy "
            f"from {format_percent(first['test'])} to {format_percent(last['test'])}, by {points} points "
            f"(95% interval {low} to {high}: {evidence}), and the gap from {gaps[0]} to {gaps[1]} points."
        )
    return [*sentences, CAVEAT]


def render_sizes(table: pd.DataFrame) -> str:
    """The table and its sentences as Markdown."""
    heads = ["variant", "training images", "epochs", "train", "validation", "test (95%)", "gap, points"]
    rows = [
        [
            row["variant"],
            f"{row['n_images']:,}",
            str(row["epochs"]),
            *(format_percent(row[split]) for split in ("train", "validation")),
            f"{format_percent(row['test'])} ({format_percent(row['test_low'])} to {format_percent(row['test_high'])})",
            format_points(row["gap"]),
        ]
        for row in table.to_dict("records")
    ]
    sentences = "\n".join(f"- {sentence}" for sentence in describe_sizes(table))
    return f"{render_table(heads, rows)}\n\n{sentences}\n"
