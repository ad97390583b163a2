"""All variants on the same test images: differences with intervals and tests. No TensorFlow."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from cvd.evaluation.intervals import bootstrap_accuracies, find_interval
from cvd.evaluation.measures import is_right
from cvd.evaluation.verdict import describe_pair, state_verdict
from cvd.runtime.errors import InputError

Array = NDArray[Any]


def align_test_images(predictions: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The test rows of each variant, checked to be the same images with the same labels in the same order.

    Raises:
        InputError: two variants were tested on different images.
    """
    tests = {name: frame[frame["split"] == "test"].reset_index(drop=True) for name, frame in predictions.items()}
    first, *others = tests
    for name in others:
        if not tests[first][["path", "label"]].equals(tests[name][["path", "label"]]):
            raise InputError(
                f"predictions/{name}.csv and predictions/{first}.csv are of different test images: "
                f"make them anew with `dvc repro evaluate@{name} evaluate@{first}`"
            )
    return tests


def find_mcnemar_p(n_only_first: int, n_only_second: int) -> float:
    """McNemar's exact test, two-sided: of the images that only one of two networks got right, is it a fair coin whose?

    Returns:
        The p-value; 1 when there is no such image.
    """
    n = n_only_first + n_only_second
    return float(binomtest(n_only_first, n, 0.5).pvalue) if n else 1.0


def adjust_holm(p_values: ArrayLike) -> Array:
    """Holm's correction (Holm 1979): p-values that may each be held against the level of the whole family.

    Args:
        p_values: (m,), 0..1.

    Returns:
        (m,), in the same order, each at least the p-value given and at most 1.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(1, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def compare_pairs(tests: dict[str, pd.DataFrame], accuracies: Array) -> list[dict[str, Any]]:
    """Each pair of variants, in the order of the variants; differences are second minus first.

    Args:
        tests: as of `align_test_images`, at least one variant.
        accuracies: (replicates, variants), as of `bootstrap_accuracies`.
    """
    names = list(tests)
    right = {name: is_right(frame["label"].to_numpy(), frame["logit"].to_numpy()) for name, frame in tests.items()}
    pairs: list[dict[str, Any]] = []
    for i, j in combinations(range(len(names)), 2):
        first, second = names[i], names[j]
        low, high = find_interval(accuracies[:, j] - accuracies[:, i])
        only_first, only_second = int((right[first] & ~right[second]).sum()), int((right[second] & ~right[first]).sum())
        pairs.append(
            {
                "first": first,
                "second": second,
                "difference": (only_second - only_first) / len(right[first]),
                "difference_low": low,
                "difference_high": high,
                "only_first_right": only_first,
                "only_second_right": only_second,
                "agreement": 1 - (only_first + only_second) / len(right[first]),
                "same_logits": bool(tests[first]["logit"].equals(tests[second]["logit"])),
                "p": find_mcnemar_p(only_first, only_second),
            }
        )
    for pair, p_holm in zip(pairs, adjust_holm(np.array([pair["p"] for pair in pairs], np.float64)), strict=True):
        pair["p_holm"] = float(p_holm)
        pair["sentence"] = describe_pair(pair, n_images=len(tests[names[0]]))
    return pairs


def rank_variants(metrics: dict[str, dict[str, Any]], accuracies: Array) -> list[dict[str, Any]]:
    """The variants by test accuracy, best first; equal ones share a rank, and keep the order they were named in.

    `best_share` is the share of bootstrap test sets on which no other variant does better: near 1 for a clear winner.
    """
    wins = (accuracies == accuracies.max(axis=1, keepdims=True)).mean(axis=0)
    keys = ("accuracy", "accuracy_low", "accuracy_high", "loss", "auc", "ece")
    rows = [
        {
            "rank": 1 + sum(other["test"]["accuracy"] > found["test"]["accuracy"] for other in metrics.values()),
            "variant": name,
            **{key: found["test"][key] for key in keys},
            **{key: found["test"]["details"][0][key] for key in ("average_precision", "brier")},
            "best_share": float(wins[i]),
        }
        for i, (name, found) in enumerate(metrics.items())
    ]
    return sorted(rows, key=lambda row: row["rank"])


def list_overfitting(metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What over-fitting is in each variant, in the order they were named in.

    `accuracy_gap` and `loss_gap` are of the saved model on clean images; what ends in `best` and `last`, and the
    areas, are of the epochs' own figures.
    """
    return [
        {
            "variant": name,
            "epochs": found["training"]["epochs"],
            "saved_epoch": found["training"]["details"][0].get("saved_epoch"),
            **{key: found["overfitting"][key] for key in ("best_epoch", "onset_epoch")},
            **{f"{split}_accuracy": found[split]["accuracy"] for split in ("train", "validation", "test")},
            **{f"{split}_loss": found[split]["loss"] for split in ("train", "validation", "test")},
            **{key: found["overfitting"][key] for key in ("accuracy_gap", "loss_gap")},
            **_list_curve_gaps(found["overfitting"]["curve_gaps"]),
            **found["overfitting"]["details"][0],
        }
        for name, found in metrics.items()
    ]


def _list_curve_gaps(gaps: list[dict[str, Any]]) -> dict[str, float | None]:
    """`accuracy_gap_best`, `accuracy_gap_last`, `loss_gap_best` and so on; None where there was no number."""
    found = {gap["at"]: gap for gap in gaps}
    return {
        f"{what}_{at}": found.get(at, {}).get(what)
        for what in ("accuracy_gap", "loss_gap", "validation_loss", "validation_accuracy")
        for at in ("best", "last")
    }


def compare_variants(
    predictions: dict[str, pd.DataFrame], metrics: dict[str, dict[str, Any]], *, n_bootstrap: int, seed: int
) -> dict[str, Any]:
    """The content of metrics/comparison.json.

    Args:
        predictions: of each variant, as of `cvd.evaluation.measures.read_predictions`.
        metrics: of each variant, as of `cvd.evaluation.measures.evaluate_variant`; same names, same order.
        n_bootstrap: replicates of the paired bootstrap.
        seed: of the bootstrap.

    Returns:
        Few plain values first; the details are lists, which `dvc metrics` leaves out of its tables.

    Raises:
        InputError: the variants were tested on different images.
    """
    tests = align_test_images(predictions)
    right = np.array([is_right(frame["label"].to_numpy(), frame["logit"].to_numpy()) for frame in tests.values()])
    accuracies = bootstrap_accuracies(right, n_bootstrap=n_bootstrap, seed=seed)
    pairs = compare_pairs(tests, accuracies)
    ranking = rank_variants(metrics, accuracies)
    overfitting = list_overfitting(metrics)
    return {
        "best": ranking[0]["variant"],
        "n_test_images": right.shape[1],
        "n_pairs": len(pairs),
        "n_pairs_told_apart": sum(pair["p_holm"] < 0.05 for pair in pairs),
        "verdict": state_verdict(ranking, pairs, overfitting, n_images=right.shape[1]),
        "ranking": ranking,
        "pairs": pairs,
        "overfitting": overfitting,
    }


def summarise_timing(timing: dict[str, Any], *, best_epoch: int) -> dict[str, Any]:
    """One variant's entry of metrics/timings.json.

    Args:
        timing: models/VARIANT.timing.json.
        best_epoch: 1-based, of the lowest validation loss; `seconds_after_best` are those of the epochs after it.
    """
    return {
        "images_per_second": timing["images_per_second"],
        "seconds": timing["seconds"],
        "seconds_after_best": round(sum(timing["seconds_per_epoch"][best_epoch:]), 3),
        "median_seconds_per_epoch": float(np.median(timing["seconds_per_epoch"]))
        if timing["seconds_per_epoch"]
        else None,
        "device": timing["device"],
        "threads": timing["threads"],
    }
