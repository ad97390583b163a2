"""Learning curves against data size: the same training on ever more of the training images. No TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cvd.evaluation.intervals import bootstrap_accuracies, find_interval
from cvd.evaluation.measures import is_right
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import format_percent, format_points

COLUMNS = (
    *("variant", "n_images", "epochs", "train", "validation", "test", "test_low", "test_high", "gap"),
    *("difference", "difference_low", "difference_high"),
)
MOST_EPOCHS = 10_000  # that params.yaml takes
PARTS = {
    "eighth": 1 / 8,
    "quarter": 1 / 4,
    "half": 1 / 2,
}  # of the training images, beside all
CAVEAT = "Each number of images is one training from one seed: the intervals leave out the luck of training."


def lengthen_training(block: Mapping[str, Any], *, n_all: int, n_kept: int, batch_size: int) -> dict[str, Any]:
    """A block of params.yaml's `variants` for fewer images: as many steps, so more epochs, to the nearest whole one.

    With the same number of epochs a network would see 1/8 of the images in 1/8 of the steps: too few to learn anything,
    and one would compare trainings, not amounts of data.

    Args:
        block: the variant's; `epochs` and `patience` change.
        n_all: training images that the block is for.
        n_kept: training images that are left.
        batch_size: images per step; the last step of an epoch may have fewer.
    """
    n_steps, n_kept_steps = (-(-n // batch_size) for n in (n_all, n_kept))
    counts = {name: block[name] for name in ("epochs", "patience") if block[name] is not None}
    return {**block, **{name: max(1, round(count * n_steps / n_kept_steps)) for name, count in counts.items()}}


def tabulate_sizes(
    variant: str,
    measured: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, pd.DataFrame],
    *,
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """A row for each number of training images, in order.

    Args:
        variant: its name.
        measured: of each part and of `all`, as of `cvd.evaluation.measures.evaluate_variant`.
        predictions: of the same, as of `cvd.evaluation.measures.read_predictions`; test images are the same in all.
        n_bootstrap: replicates of the paired bootstrap.
        seed: of the bootstrap.

    Returns:
        `COLUMNS`: `n_images` of train; accuracies of the saved model on clean images, Wilson's 95% interval for test;
        `difference` is the test accuracy of all images' network minus the row's, with the 95% interval of the bootstrap
        over the test images that both got.
    """
    tests = {part: frame[frame["split"] == "test"] for part, frame in predictions.items()}
    right = {part: is_right(test["label"].to_numpy(), test["logit"].to_numpy()) for part, test in tests.items()}
    accuracies = bootstrap_accuracies(np.array(list(right.values())), n_bootstrap=n_bootstrap, seed=seed)
    drawn = dict(zip(right, accuracies.T, strict=True))
    rows = []
    for part, each in measured.items():
        low, high = find_interval(drawn["all"] - drawn[part])
        rows.append(
            {
                "variant": variant,
                "n_images": each["train"]["details"][0]["n_images"],
                "epochs": each["training"]["epochs"],
                **{split: each[split]["accuracy"] for split in ("train", "validation", "test")},
                **{f"test_{end}": each["test"][f"accuracy_{end}"] for end in ("low", "high")},
                "gap": each["overfitting"]["accuracy_gap"],
                "difference": float((right["all"].sum() - right[part].sum()) / len(right[part])),
                "difference_low": low,
                "difference_high": high,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("n_images", ignore_index=True)


def describe_sizes(table: pd.DataFrame) -> list[str]:
    """One plain sentence for each variant, what more images did, and one on how far to trust them all."""
    sentences = []
    for variant, rows in table.groupby("variant", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        times = f"{last['n_images'] / first['n_images']:.3g}"
        gaps = [f"{format_points(each['gap'], sign=False)}" for each in (first, last)]
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
    sentences = "\n".join(f"- {each}" for each in describe_sizes(table))
    return f"{render_table(heads, rows)}\n\n{sentences}\n"
