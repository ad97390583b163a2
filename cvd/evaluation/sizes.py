"""Learning curves against data size: the same training on ever more of the training images. No TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cvd.evaluation.experiments import Outcome
from cvd.evaluation.intervals import wilson_interval
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import format_percent, format_points

COLUMNS = (
    "variant", "n_images", "n_seeds", "epochs", "train", "validation", "test", "test_low", "test_high", "gap",
)  # fmt: skip
SHARES = (0.125, 0.25, 0.5)  # of the training images; "all" is what is trained anyway


def plan_sizes(n_per_class: int, epochs: Mapping[str, int]) -> list[tuple[int, dict[str, int]]]:
    """How to train on each of `SHARES`: images per class, and epochs of each variant for the same number of steps.

    With the same number of epochs a network would see 1/8 of the images in 1/8 of the steps: too few to learn anything,
    and one would compare trainings, not amounts of data.
    """
    sizes = sorted({max(1, round(share * n_per_class)) for share in SHARES} - {n_per_class})
    return [(n, {name: round(each * n_per_class / n) for name, each in epochs.items()}) for n in sizes]


def gather_sizes(outcomes: Sequence[Outcome], variants: Sequence[str] | None = None) -> list[Outcome]:
    """Outcomes that differ in `split.train`, `epochs` and `seed` only.

    Of each variant those are taken that agree in all else with the first one, hence with the workspace where it has
    one: the same source, validation and test images; of several of the same size and seed the first, hence the newest.
    `assign_splits` fills test and validation first, so that these stay, and a smaller train is part of a larger one.
    """
    reference: dict[str, tuple[Any, Any]] = {}
    found: dict[tuple[str, int, int], Outcome] = {}
    for each in outcomes:
        if each.split is None or (variants and each.variant not in variants):
            continue
        same = (
            {
                name: _drop(value, "epochs") if name.startswith("variants.") else value
                for name, value in each.settings.items()
            },
            _drop(each.split, "train"),
        )
        if reference.setdefault(each.variant, same) == same:
            found.setdefault((each.variant, count_train(each), each.seed), each)
    return list(found.values())


def _drop(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def count_train(outcome: Outcome) -> int:
    """Images that it was trained on."""
    return int(outcome.metrics["train"]["details"][0]["n_images"])


def tabulate_sizes(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """A row for each variant and number of training images, both in order; means over the seeds.

    Returns:
        `COLUMNS`: `n_images` of train; accuracies of the saved model on clean images, Wilson's 95% interval for test.
    """
    rows = [
        {
            "variant": each.variant,
            "n_images": count_train(each),
            "n_seeds": 1,
            "epochs": each.metrics["training"]["epochs"],
            **{split: each.metrics[split]["accuracy"] for split in ("train", "validation", "test")},
            "gap": each.metrics["overfitting"]["accuracy_gap"],
            "n_test": each.metrics["test"]["details"][0]["n_images"],
        }
        for each in outcomes
    ]
    frame = pd.DataFrame(rows)
    frame["variant"] = pd.Categorical(frame["variant"], list(dict.fromkeys(frame["variant"])))
    grouped = frame.groupby(["variant", "n_images"], sort=True, observed=True)
    table = grouped.mean().assign(n_seeds=grouped["n_seeds"].sum(), epochs=grouped["epochs"].max()).reset_index()
    low, high = wilson_interval(table["test"] * table["n_test"], table["n_test"])
    table = table.assign(variant=table["variant"].astype(str), test_low=low, test_high=high)
    return table[list(COLUMNS)]


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
            f"{'' if apart else ', which the luck of the test images could do too'}, "
            f"and the gap from {gaps[0]} to {gaps[1]} points."
        )
    return sentences


def render_sizes(table: pd.DataFrame) -> str:
    """The table and its sentences as Markdown."""
    heads = ["variant", "training images", "seeds", "epochs", "train", "validation", "test (95%)", "gap, points"]
    rows = [
        [
            row["variant"],
            f"{row['n_images']:,}",
            str(row["n_seeds"]),
            str(row["epochs"]),
            *(format_percent(row[split]) for split in ("train", "validation")),
            f"{format_percent(row['test'])} ({format_percent(row['test_low'])} to {format_percent(row['test_high'])})",
            format_points(row["gap"]),
        ]
        for row in table.to_dict("records")
    ]
    sentences = "\n".join(f"- {each}" for each in describe_sizes(table))
    return f"{render_table(heads, rows)}\n\n{sentences}\n"


def is_enough(table: pd.DataFrame) -> bool:
    """Whether some variant has two sizes."""
    return bool(len(table)) and int(np.max(table.groupby("variant").size())) > 1
