"""Learning curves against data size: the same training on ever more of the training images. No TensorFlow."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import format_percent, format_points

COLUMNS = ("variant", "n_images", "epochs", "train", "validation", "test", "test_low", "test_high", "gap")
PARTS = {
    "eighth": 1 / 8,
    "quarter": 1 / 4,
    "half": 1 / 2,
}  # of the training images, beside all


def lengthen_training(block: Mapping[str, Any], times: float) -> dict[str, Any]:
    """A block of params.yaml's `variants` for that many times fewer images: as many steps, so as many epochs more.

    With the same number of epochs a network would see 1/8 of the images in 1/8 of the steps: too few to learn anything,
    and one would compare trainings, not amounts of data.
    """
    counts = {name: block[name] for name in ("epochs", "patience") if block[name] is not None}
    return {**block, **{name: round(count * times) for name, count in counts.items()}}


def tabulate_sizes(variant: str, measured: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each number of training images, in order.

    Args:
        variant: its name.
        measured: as of `cvd.evaluation.measures.evaluate_variant`, of networks that differ in their training images.

    Returns:
        `COLUMNS`: `n_images` of train; accuracies of the saved model on clean images, Wilson's 95% interval for test.
    """
    rows = [
        {
            "variant": variant,
            "n_images": each["train"]["details"][0]["n_images"],
            "epochs": each["training"]["epochs"],
            **{split: each[split]["accuracy"] for split in ("train", "validation", "test")},
            **{f"test_{end}": each["test"][f"accuracy_{end}"] for end in ("low", "high")},
            "gap": each["overfitting"]["accuracy_gap"],
        }
        for each in measured
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("n_images", ignore_index=True)


def describe_sizes(table: pd.DataFrame) -> list[str]:
    """One plain sentence for each variant with several sizes: what more images did."""
    sentences = []
    for variant, rows in table.groupby("variant", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        if len(rows) == 1:
            sentences.append(f"{variant} was trained on {first['n_images']:,} images only.")
            continue
        times = f"{last['n_images'] / first['n_images']:.3g}"
        gaps = [f"{format_points(each['gap'], sign=False)}" for each in (first, last)]
        apart = first["test_high"] < last["test_low"] or last["test_high"] < first["test_low"]
        sentences.append(
            f"{variant}: {times} times the images ({first['n_images']:,} to {last['n_images']:,}) take test accuracy "
            f"from {format_percent(first['test'])} to {format_percent(last['test'])}"
            f"{'' if apart else ' (their intervals overlap: it may be the luck of the test images)'}, "
            f"and the gap from {gaps[0]} to {gaps[1]} points."
        )
    return sentences


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
    sentences = "\n".join(f"- {each}" for each in describe_sizes(table))
    return f"{render_table(heads, rows)}\n\n{sentences}\n"
