"""From the predictions of one variant to its metrics, all recomputable from its predictions. No TensorFlow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, roc_auc_score, roc_curve

from cvd.evaluation.calibration import measure_ece
from cvd.evaluation.intervals import wilson_interval
from cvd.evaluation.overfitting import measure_overfitting
from cvd.runtime.errors import InputError

Array = NDArray[Any]

COLUMNS = ["path", "split", "label", "logit", "probability"]
SPLITS = ("train", "validation", "test")
NAMES = ("cat", "dog")
# What DVC's tables show: of each split, and of models/VARIANT.training.json.
SHOWN_FIGURES = {
    "train": ("accuracy", "loss"),
    "validation": ("accuracy", "loss"),
    "test": ("accuracy", "accuracy_low", "accuracy_high", "loss", "auc", "ece"),
}
SHOWN = ("epochs", "precision", "parameters")


def tabulate_predictions(rows: pd.DataFrame, logits: ArrayLike) -> pd.DataFrame:
    """The table that becomes predictions/VARIANT.csv.

    Args:
        rows: rows of the manifest, with `path`, `split`, `label`; kept in their order.
        logits: (n,) float32, one for each row; positive means dog.

    Returns:
        A frame with `COLUMNS`. `logit` is the float64 that reading the shortest decimal text of the float32 gives,
        and `probability` is its sigmoid in float64, so that the file and the frame hold the very same values.

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


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Reads a predictions/VARIANT.csv, to the last digit.

    Raises:
        InputError: the file is missing, or is not such a table.
    """
    path = Path(path)
    try:
        frame = pd.read_csv(path, dtype={"path": str, "split": str}, converters={"logit": float, "probability": float})
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: make it with `dvc repro evaluate@{path.stem}`") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not a table of predictions: make it anew with `dvc repro -f evaluate@{path.stem}`"
        ) from error
    if list(frame.columns) != COLUMNS:
        raise InputError(f"{path} has the columns {','.join(frame.columns)}: expected {','.join(COLUMNS)}")
    return frame


def measure_loss(labels: Array, logits: Array) -> float:
    """Binary cross-entropy from logits, in nats, exact also where the probability rounds to 0 or 1."""
    return float(-log_expit(np.where(labels == 1, logits, -logits)).mean())


def is_right(labels: Array, logits: Array) -> Array:
    """(n,) bool: the sign of the logit names the label (positive: dog)."""
    return (logits > 0) == (labels == 1)


def choose_threshold(labels: Array, probabilities: Array) -> float:
    """The threshold of "dog is probability > threshold" with the highest accuracy on these images.

    Candidates are 0.5 and the middles between neighbouring distinct probabilities. Of equally good ones the closest
    to 0.5 is taken, so that a threshold moves only when that gains something on the images it is chosen on.
    """
    values = np.unique(probabilities)
    candidates = np.concatenate([[0.5], (values[1:] + values[:-1]) / 2])
    cats = np.sort(probabilities[labels == 0])
    dogs = np.sort(probabilities[labels == 1])
    n_right = (
        np.searchsorted(cats, candidates, side="right") + len(dogs) - np.searchsorted(dogs, candidates, side="right")
    )
    best = np.lexsort((candidates, np.abs(candidates - 0.5), -n_right))[0]
    return float(candidates[best])


def count_confusion(labels: Array, logits: Array) -> list[list[int]]:
    """Counts of images: rows are what they are, columns what they were taken for; cat first, then dog."""
    return confusion_matrix(labels, logits > 0, labels=[0, 1]).tolist()


def _measure_classes(confusion: list[list[int]]) -> list[dict[str, Any]]:
    """Precision and recall of each label; precision is None where nothing was called by that name."""
    rows = []
    for label, name in enumerate(NAMES):
        right = confusion[label][label]
        called, present = sum(row[label] for row in confusion), sum(confusion[label])
        rows.append({"label": name, "precision": right / called if called else None, "recall": right / present})
    return rows


def measure_split(
    frame: pd.DataFrame, *, threshold: float, n_bins: int, shown: Sequence[str] = SHOWN_FIGURES["test"]
) -> dict[str, Any]:
    """What the predictions of one split amount to.

    Args:
        frame: its rows of the predictions; both labels occur.
        threshold: a probability chosen on the validation split.
        n_bins: bins of the calibration error.
        shown: which figures `dvc metrics` is to show.

    Returns:
        The shown figures as plain numbers, all others in lists, which `dvc metrics` leaves out of its tables. Shares
        are 0..1, the loss is in nats; `accuracy_low` and `accuracy_high` are Wilson's 95% interval; all but
        `accuracy_at_threshold` call an image a dog above a probability of 0.5.
    """
    labels, logits, probabilities = (frame[name].to_numpy() for name in ("label", "logit", "probability"))
    n_right = int(is_right(labels, logits).sum())
    low, high = wilson_interval(n_right, len(frame))
    confusion = count_confusion(labels, logits)
    figures = {
        "accuracy": n_right / len(frame),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "loss": measure_loss(labels, logits),
        "auc": float(roc_auc_score(labels, logits)),
        "ece": measure_ece(labels, probabilities, n_bins),
        "n_images": len(frame),
        "average_precision": float(average_precision_score(labels, logits)),
        "brier": float(brier_score_loss(labels, probabilities)),
        "threshold": threshold,
        "accuracy_at_threshold": float(((probabilities > threshold) == (labels == 1)).mean()),
    }
    return {
        **{name: figures[name] for name in shown},
        "confusion": confusion,
        "classes": _measure_classes(confusion),
        "details": [{name: value for name, value in figures.items() if name not in shown}],
    }


def evaluate_variant(
    predictions: pd.DataFrame, history: pd.DataFrame, training: dict[str, Any], *, n_bins: int, onset_tolerance: float
) -> dict[str, Any]:
    """The content of metrics/VARIANT.json.

    Args:
        predictions: as of `read_predictions`, by the saved model on clean images of all three splits.
        history: models/VARIANT.history.csv.
        training: models/VARIANT.training.json.
        n_bins: bins of the calibration error.
        onset_tolerance: see `cvd.evaluation.overfitting.find_onset`.

    Returns:
        Sections, in each the main figures as plain values, all others in lists, which `dvc metrics` leaves out.

    Raises:
        InputError: a split has no images, or the images of one label only.
    """
    splits = {name: predictions[predictions["split"] == name] for name in SPLITS}
    for name, frame in splits.items():
        if set(frame["label"]) != {0, 1}:
            raise InputError(
                f"split {name} holds the labels {sorted(set(frame['label']))} in the predictions: "
                "both 0 (cat) and 1 (dog) are needed"
            )
    checked = splits["validation"]
    threshold = choose_threshold(checked["label"].to_numpy(), checked["probability"].to_numpy())
    measured = {
        name: measure_split(frame, threshold=threshold, n_bins=n_bins, shown=SHOWN_FIGURES[name])
        for name, frame in splits.items()
    }
    train, validation = measured["train"], measured["validation"]
    curves = measure_overfitting(history, tolerance=onset_tolerance)
    areas = {name: curves.pop(name) for name in ("accuracy_area", "loss_area")}
    return {
        **measured,
        "overfitting": {
            "accuracy_gap": train["accuracy"] - validation["accuracy"],
            "loss_gap": validation["loss"] - train["loss"],
            **curves,
            "details": [areas],
        },
        "training": {
            **{name: training[name] for name in SHOWN},
            "details": [{name: value for name, value in training.items() if name not in SHOWN}],
        },
    }


def tabulate_roc(frame: pd.DataFrame) -> pd.DataFrame:
    """ROC curve of a split's predictions: `false_positive_rate`, `true_positive_rate` (of dogs), `threshold`."""
    false, true, thresholds = roc_curve(frame["label"], frame["logit"])
    return pd.DataFrame({"false_positive_rate": false, "true_positive_rate": true, "threshold": expit(thresholds)})


def tabulate_confusion(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each image with the names `actual` and `predicted`, as DVC's confusion template wants them."""
    names = np.array(NAMES)
    return pd.DataFrame({"actual": names[frame["label"]], "predicted": names[(frame["logit"] > 0).astype(int)]})


def render_json(value: Any) -> str:
    """JSON with two spaces, keys in their order, floats to the last digit; refuses NaN and infinity."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
