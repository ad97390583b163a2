"""All variants on the same test images: differences with intervals and tests. No TensorFlow."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cvd.evaluation.figures import (
    Change,
    Comparison,
    Measured,
    Metrics,
    Pair,
    Rank,
    Timing,
    TimingSummary,
    read_table,
)
from cvd.evaluation.fit import describe_fit
from cvd.evaluation.measures import is_right, read_predictions, select_test
from cvd.evaluation.statistics import (
    adjust_holm,
    bootstrap_accuracies,
    find_interval,
    find_mcnemar_p,
    tango_interval,
    wilson_interval,
)
from cvd.evaluation.verdict import LEVEL, describe_change, describe_pair, describe_unpaired, state_verdict
from cvd.runtime.errors import InputError

Array = NDArray[Any]


def align_test_images(predictions: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Select the test rows of each variant: the same images with the same labels in the same order.

    Raises:
        InputError: two variants were tested on different images.
    """
    tests = {name: select_test(frame) for name, frame in predictions.items()}
    first, *others = tests
    for name in others:
        if not tests[first][["path", "label"]].equals(tests[name][["path", "label"]]):
            raise InputError(
                f"predictions/{name}.csv and predictions/{first}.csv are of different test images: make them again "
                f"with `dvc repro evaluate@{name} evaluate@{first}`, or remove what dvc.yaml's graph does not name"
            )
    return tests


def compare_pairs(tests: Mapping[str, pd.DataFrame], accuracies: Array) -> list[Pair]:
    """Compare each pair of variants, in their order, given `accuracies` (replicates, variants) of the bootstrap."""
    names = list(tests)
    n_images = len(tests[names[0]])
    right = {name: is_right(frame) for name, frame in tests.items()}  # (images,) bool each
    pairs: list[Pair] = []
    for i, j in combinations(range(len(names)), 2):
        first, second = names[i], names[j]
        low, high = find_interval(accuracies[:, j] - accuracies[:, i])
        only_first, only_second = int((right[first] & ~right[second]).sum()), int((right[second] & ~right[first]).sum())
        pairs.append(
            {
                "first": first,
                "second": second,
                "difference": (only_second - only_first) / n_images,
                "difference_low": low,
                "difference_high": high,
                "only_first_right": only_first,
                "only_second_right": only_second,
                "agreement": 1 - (only_first + only_second) / n_images,
                "same_logits": bool(tests[first]["logit"].equals(tests[second]["logit"])),
                "p": find_mcnemar_p(only_first, only_second),
                "p_holm": 1.0,  # known when all are
                "sentence": "",
            }
        )
    for pair, p_holm in zip(pairs, adjust_holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = float(p_holm)
        pair["sentence"] = describe_pair(pair, n_images=n_images)
    return pairs


def rank_variants(metrics: Mapping[str, Metrics], accuracies: Array) -> list[Rank]:
    """Rank the variants by test accuracy, best first; equal ones share a rank and keep their order.

    `accuracies` is (replicates, variants), of the bootstrap.
    """
    # (variants,): how often no other variant has a higher accuracy; near 1 for a clear winner.
    wins = (accuracies == accuracies.max(axis=1, keepdims=True)).mean(axis=0)
    tests = {name: figures["test"] for name, figures in metrics.items()}
    rows: list[Rank] = [
        {
            "rank": 1 + sum(other["accuracy"] > test["accuracy"] for other in tests.values()),
            "variant": name,
            "accuracy": test["accuracy"],
            "accuracy_low": test["accuracy_low"],
            "accuracy_high": test["accuracy_high"],
            "loss": test["loss"],
            "auc": test["auc"],
            "ece": test["ece"],
            "average_precision": test["details"][0]["average_precision"],
            "brier": test["details"][0]["brier"],
            "best_share": float(share),
        }
        for (name, test), share in zip(tests.items(), wins, strict=True)
    ]
    return sorted(rows, key=lambda row: row["rank"])


def compare_variants(
    predictions: Mapping[str, pd.DataFrame],
    metrics: Mapping[str, Metrics],
    blocks: Mapping[str, Mapping[str, Any]],
    *,
    n_bootstrap: int,
    seed: int,
) -> Comparison:
    """Make the content of metrics/comparison.json.

    Args:
        predictions: of each variant, as of `cvd.evaluation.measures.read_predictions`.
        metrics: of each variant, as of `cvd.evaluation.measures.evaluate_variant`; same names, same order.
        blocks: of each variant, that of params.yaml, `like` resolved; what it lacks gets no advice.
        n_bootstrap: replicates of the paired bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: the variants were tested on different images.
    """
    tests = align_test_images(predictions)
    right = np.array([is_right(frame) for frame in tests.values()])  # (variants, images)
    accuracies = bootstrap_accuracies(right, n_bootstrap=n_bootstrap, seed=seed)
    pairs = compare_pairs(tests, accuracies)
    ranking = rank_variants(metrics, accuracies)
    overfitting = [describe_fit(name, figures, blocks.get(name)) for name, figures in metrics.items()]
    return {
        "best": ranking[0]["variant"],
        "n_test_images": right.shape[1],
        "n_pairs": len(pairs),
        "n_pairs_told_apart": sum(pair["p_holm"] < LEVEL for pair in pairs),
        "verdict": state_verdict(ranking, pairs, overfitting, n_images=right.shape[1]),
        "ranking": ranking,
        "pairs": pairs,
        "overfitting": overfitting,
    }


def summarise_timing(timing: Timing, *, best_epoch: int) -> TimingSummary:
    """Make one variant's entry of metrics/timings.json; `best_epoch`, from 1, has the lowest validation loss."""
    seconds = timing["seconds_per_epoch"]
    return {
        "images_per_second": timing["images_per_second"],
        "seconds": timing["seconds"],
        "seconds_after_best": round(sum(seconds[best_epoch:]), 3),
        "median_seconds_per_epoch": float(np.median(seconds)) if seconds else None,
        "device": timing["device"],
        "threads": timing["threads"],
    }


def measure_accuracy(predictions: pd.DataFrame) -> Measured:
    """Measure one variant's accuracies from its predictions, with Wilson's 95% interval for the test images."""
    right = {split: is_right(rows) for split, rows in predictions.groupby("split", sort=False)}
    test, shares = right["test"], {split: float(values.mean()) for split, values in right.items()}
    low, high = wilson_interval(test.sum(), len(test))
    return {
        "accuracy": shares["test"],
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "validation_accuracy": shares["validation"],
        "gap": shares["train"] - shares["validation"],
    }


def measure_change(before: pd.DataFrame, after: pd.DataFrame) -> Change:
    """Measure what became of one variant, from its predictions in two revisions, on the same test images.

    Raises:
        ValueError: the test images have other names or labels.
    """
    tests = [select_test(frame).set_index("path").sort_index() for frame in (before, after)]
    if not tests[0]["label"].equals(tests[1]["label"]):
        raise ValueError("the test images are not the same")
    right = [is_right(test) for test in tests]  # (images,) bool each
    # The surest turns first: by how far the logit went.
    ranked = (tests[1]["logit"] - tests[0]["logit"]).abs().sort_values(ascending=False, kind="stable").index
    only, n = [set(tests[0].index[right[i] & ~right[1 - i]]) for i in (0, 1)], len(ranked)
    low, high = tango_interval(len(only[0]), len(only[1]), n)
    return {
        "n_images": n,
        "before": measure_accuracy(before),
        "after": measure_accuracy(after),
        "difference": (len(only[1]) - len(only[0])) / n,
        "difference_low": float(low),
        "difference_high": float(high),
        "p": find_mcnemar_p(len(only[0]), len(only[1])),
        "only_before_right": [str(path) for path in ranked if path in only[0]],
        "only_after_right": [str(path) for path in ranked if path in only[1]],
    }


def read_test_images(manifest: Path) -> pd.DataFrame:
    """Read which images a manifest puts into the test split: `path`, `label` and `sha256`, by path."""
    rows = read_table(manifest, "split", dtype=str, keep_default_na=False)
    return rows.loc[rows["split"] == "test", ["path", "label", "sha256"]].sort_values("path", ignore_index=True)


def tell_changes(predictions: Iterable[Path], manifest: Path, former: Mapping[Path, Path]) -> list[str]:
    """Tell in a line each how variants changed, predictions/VARIANT.csv against `former`, which may lack any file.

    Nothing is said of what is the same, cannot be read, or has no former.
    """
    with suppress(InputError, OSError, ValueError, KeyError):
        return list(_tell_changes(predictions, manifest, former))
    return []


def _tell_changes(predictions: Iterable[Path], manifest: Path, former: Mapping[Path, Path]) -> Iterator[str]:
    changed = [path for path in predictions if former.get(path, path) != path]
    if not changed or manifest not in former:
        return
    is_paired = former[manifest] == manifest or read_test_images(former[manifest]).equals(read_test_images(manifest))
    for path in changed:
        before, after = read_predictions(former[path]), read_predictions(path)
        if is_paired:
            yield describe_change(path.stem, measure_change(before, after))
        else:
            yield describe_unpaired(path.stem, measure_accuracy(before), measure_accuracy(after))
