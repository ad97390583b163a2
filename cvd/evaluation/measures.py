"""From the predictions of one variant to its metrics, all recomputable from its predictions. No TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit

from cvd.evaluation.figures import Metrics, SplitMeasures, read_table
from cvd.evaluation.fit import gather_evidence, judge_fit
from cvd.evaluation.overfitting import measure_overfitting
from cvd.evaluation.statistics import (
    find_average_precision,
    find_roc,
    measure_ece,
    tabulate_reliability,
    wilson_interval,
)
from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import SPLITS, Classes, name_classes

Array = NDArray[Any]

COLUMNS = ["path", "split", "label", "logit", "probability"]
# What DVC's tables show of each section of metrics/VARIANT.json.
SHOWN = {
    "train": ("accuracy", "loss"),
    "validation": ("accuracy", "loss"),
    "test": ("accuracy", "accuracy_low", "accuracy_high", "loss", "auc", "ece"),
    "overfitting": ("state", "accuracy_gap", "loss_gap", "best_epoch", "onset_epoch"),
    "training": ("epochs", "precision", "parameters"),
}


def tabulate_predictions(rows: pd.DataFrame, logits: ArrayLike) -> pd.DataFrame:
    """Tabulate what becomes predictions/VARIANT.csv.

    Args:
        rows: rows of the manifest, with `path`, `split`, `label`; kept in their order.
        logits: (n,) float32, one for each row; positive means the second class.

    Returns:
        `COLUMNS` as the file gives them back: float64 of the logit's shortest decimal text, and its sigmoid.

    Raises:
        InputError: a logit is not finite.
    """
    values = np.asarray(logits, np.float32).reshape(-1)
    if len(values) != len(rows):
        raise ValueError(f"{len(values)} logits for {len(rows)} rows")
    if not np.isfinite(values).all():
        first = rows["path"].iloc[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise InputError(f"the logit of {first} is not a number: the training diverged, lower its learning_rate")
    exact = np.array([float(str(value)) for value in values], np.float64)
    frame = rows[["path", "split", "label"]].reset_index(drop=True)
    return frame.assign(logit=exact, probability=expit(exact))


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a predictions/VARIANT.csv, to the last digit.

    Raises:
        InputError: the file is missing, or is not such a table.
    """
    exact = {"logit": float, "probability": float}
    frame = read_table(path, f"evaluate@{path.stem}", dtype={"path": str, "split": str}, converters=exact)
    if list(frame.columns) != COLUMNS:
        raise InputError(f"{path} has the columns {','.join(frame.columns)}: expected {','.join(COLUMNS)}")
    return frame


def select_test(predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows of the test images, numbered from 0."""
    return predictions[predictions["split"] == "test"].reset_index(drop=True)


def measure_loss(labels: Array, logits: Array) -> float:
    """Binary cross-entropy from logits, in nats, exact also where the probability rounds to 0 or 1."""
    # -log sigmoid(z) for the second class, -log(1 - sigmoid(z)) = -log sigmoid(-z) for the first.
    return float(-log_expit(np.where(labels == 1, logits, -logits)).mean())


def is_right(frame: pd.DataFrame) -> Array:
    """(n,) bool: true where the sign of the logit names the label (positive: the second class)."""
    return ((frame["logit"] > 0) == (frame["label"] == 1)).to_numpy()


def _measure_brier(labels: Array, probabilities: Array) -> float:
    """Mean squared error of both classes' probabilities, in scikit-learn's order of operations: the same bits."""
    return float(0.5 * np.mean(((1 - labels) - (1 - probabilities)) ** 2 + (labels - probabilities) ** 2))


def choose_threshold(labels: Array, probabilities: Array) -> float:
    """Choose the threshold of "positive is probability > threshold" with the highest accuracy on these images.

    Candidates are 0.5 and the middles between neighbouring distinct probabilities; of equals the closest to 0.5 wins.
    """
    values = np.unique(probabilities)
    candidates = np.concatenate([[0.5], (values[1:] + values[:-1]) / 2])
    negatives = np.sort(probabilities[labels == 0])
    positives = np.sort(probabilities[labels == 1])
    # (candidates,): negatives at or below each threshold, and positives above it.
    n_below = np.searchsorted(negatives, candidates, side="right")
    n_right = n_below + len(positives) - np.searchsorted(positives, candidates, side="right")
    best = np.lexsort((candidates, np.abs(candidates - 0.5), -n_right))[0]
    return float(candidates[best])


def _measure_classes(confusion: list[list[int]], classes: Classes) -> list[dict[str, Any]]:
    """Precision and recall of each label; precision is None where nothing was called by that name."""
    rows = []
    for label, name in enumerate(classes):
        right = confusion[label][label]
        called, present = sum(row[label] for row in confusion), sum(confusion[label])
        rows.append({"label": name, "precision": right / called if called else None, "recall": right / present})
    return rows


def measure_split(frame: pd.DataFrame, *, threshold: float, n_bins: int) -> SplitMeasures:
    """Measure the predictions of one split; all but `accuracy_at_threshold` call positive what is above 0.5.

    Args:
        frame: its rows of the predictions; both labels occur.
        threshold: a probability chosen on the validation split.
        n_bins: bins of the calibration error.

    Returns:
        Shares 0..1, the loss in nats, Wilson's 95% interval of the accuracy; rows of `confusion` are labels.
    """
    labels, logits, probabilities = (frame[name].to_numpy() for name in ("label", "logit", "probability"))
    n_right = int(is_right(frame).sum())
    low, high = wilson_interval(n_right, len(frame))
    confusion = np.bincount(2 * labels + (logits > 0), minlength=4).reshape(2, 2).tolist()  # rows: labels
    false, true, _ = find_roc(labels, logits)
    return {
        "accuracy": n_right / len(frame),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "loss": measure_loss(labels, logits),
        "auc": float(np.trapezoid(true, false)),
        "ece": measure_ece(labels, probabilities, n_bins),
        "n_images": len(frame),
        "average_precision": find_average_precision(labels, logits),
        "brier": _measure_brier(labels, probabilities),
        "threshold": threshold,
        "accuracy_at_threshold": float(((probabilities > threshold) == (labels == 1)).mean()),
        "confusion": confusion,
        "classes": _measure_classes(confusion, name_classes(frame["path"], labels)),
    }


def _arrange(section: str, figures: Mapping[str, Any]) -> Any:
    """Arrange a section of `Metrics`: the figures that `dvc metrics` shows, lists, and all others in a list."""
    shown = {name: figures[name] for name in SHOWN[section]}
    lists = {name: value for name, value in figures.items() if isinstance(value, list)}
    details = {name: value for name, value in figures.items() if name not in (*shown, *lists)}
    return {**shown, **lists, "details": [details]}


def evaluate_variant(
    predictions: pd.DataFrame,
    history: pd.DataFrame,
    training: Mapping[str, Any],
    *,
    calibration_bins: int,
    onset_tolerance: float,
    notable_gap: float,
    learned_accuracy: float,
) -> Metrics:
    """Make the content of metrics/VARIANT.json.

    Args:
        predictions: as of `read_predictions`, by the saved model on clean images of all three splits.
        history: models/VARIANT.history.csv.
        training: models/VARIANT.training.json.
        calibration_bins: bins of the calibration error.
        onset_tolerance: see `cvd.evaluation.overfitting.find_onset`.
        notable_gap: see `cvd.evaluation.fit.judge_fit`.
        learned_accuracy: see there.

    Raises:
        InputError: a split has no images, or the images of one label only.
    """
    splits = {name: predictions[predictions["split"] == name] for name in SPLITS}
    for name, frame in splits.items():
        if set(frame["label"]) != {0, 1}:
            raise InputError(
                f"split {name} holds the labels {sorted(set(frame['label']))} in the predictions: "
                "both 0 and 1 are needed"
            )
    checked = splits["validation"]
    threshold = choose_threshold(checked["label"].to_numpy(), checked["probability"].to_numpy())
    train, validation, test = (
        measure_split(splits[name], threshold=threshold, n_bins=calibration_bins) for name in SPLITS
    )
    gaps = {"accuracy_gap": train["accuracy"] - validation["accuracy"], "loss_gap": validation["loss"] - train["loss"]}
    curves = measure_overfitting(history, tolerance=onset_tolerance)
    evidence = gather_evidence(train, validation, training.get("saved_epoch", len(history)))
    limits = {"onset_tolerance": onset_tolerance, "notable_gap": notable_gap, "learned_accuracy": learned_accuracy}
    fit = judge_fit(history, evidence, **limits)
    return {
        "train": _arrange("train", train),
        "validation": _arrange("validation", validation),
        "test": _arrange("test", test),
        "overfitting": _arrange("overfitting", {**fit, **gaps, **curves}),
        "training": _arrange("training", training),
    }


def tabulate_test(predictions: pd.DataFrame, *, calibration_bins: int) -> dict[str, pd.DataFrame]:
    """Tabulate what is drawn of the test images: `roc`, `reliability`, `confusion` (a row an image)."""
    test = select_test(predictions)
    labels, probabilities = test["label"].to_numpy(), test["probability"].to_numpy()
    false, true, thresholds = find_roc(labels, test["logit"].to_numpy())
    names = np.array(name_classes(test["path"], labels))
    return {
        "roc": pd.DataFrame({"false_positive_rate": false, "true_positive_rate": true, "threshold": expit(thresholds)}),
        "reliability": tabulate_reliability(labels, probabilities, calibration_bins),
        "confusion": pd.DataFrame({"actual": names[labels], "predicted": names[(test["logit"] > 0).astype(int)]}),
    }
