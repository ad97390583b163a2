"""Over-fitting in a training history: gaps, the best epoch, and the epoch after which it only got worse."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cvd.evaluation.figures import CurveFigures, EpochGap, read_table
from cvd.runtime.errors import InputError

COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
N_LAST = 3  # epochs that must at least follow an onset: one bad epoch is noise, not a trend


def read_history(path: Path) -> pd.DataFrame:
    """Read a models/VARIANT.history.csv, one row per epoch, epochs from 1.

    Raises:
        InputError: the file is missing, empty, or lacks a column.
    """
    stage = f"train@{path.name.removesuffix('.history.csv')}"
    history = read_table(path, stage, converters=dict.fromkeys(COLUMNS[1:], float))
    missing = [name for name in COLUMNS if name not in history.columns]
    if missing or history.empty:
        fault = f"lacks {', '.join(missing)}" if missing else "has no epoch"
        raise InputError(f"{path} {fault}: make it again with `dvc repro -f {stage}`")
    return history


def find_best_epoch(val_loss: ArrayLike) -> int:
    """Find the epoch, from 1, of the lowest validation loss: the first of equals, NaN left out."""
    values = np.asarray(val_loss, np.float64)
    if np.isnan(values).all():
        raise InputError(
            "the validation loss is not a number in any epoch: the training diverged, lower its learning_rate"
        )
    return int(np.nanargmin(values)) + 1


def smooth_losses(values: ArrayLike) -> NDArray[np.float64]:
    """Running median of losses (epochs,) over a tenth of the epochs: one lucky or unlucky epoch does not move it.

    The window reaches `round(epochs / 20)` epochs to either side, so fewer than 11 epochs stay as they are.
    """
    losses = np.asarray(values, np.float64)
    reach = round(len(losses) / 20)
    return np.array([np.median(losses[max(0, i - reach) : i + reach + 1]) for i in range(len(losses))])


def find_onset(val_loss: ArrayLike, *, tolerance: float) -> int | None:
    """Find the onset of over-fitting: the epoch after which the validation loss does not recover.

    It is the lowest epoch of the smoothed loss (`smooth_losses`), the last of equals, if two things hold. At least
    `N_LAST` epochs and a tenth of all follow it. In each of the last so many the smoothed loss is too high. Otherwise
    the loss fell, levelled off or came back, or too few epochs tell. `find_best_epoch` does not smooth.

    Args:
        val_loss: (epochs,), nats. An epoch without a number counts as risen.
        tolerance: share of the lowest loss, >= 0, above which a loss is too high; 0.05 means 5%.

    Returns:
        The epoch, from 1, or None.
    """
    losses = smooth_losses(np.nan_to_num(np.asarray(val_loss, np.float64), nan=np.inf))
    lowest = losses.min()
    onset = len(losses) - int(np.argmin(losses[::-1]))
    n_after = max(N_LAST, -(-len(losses) // 10))
    if not np.isfinite(lowest) or len(losses) - onset < n_after:
        return None
    return onset if (losses[-n_after:] > lowest * (1 + tolerance)).all() else None


def tabulate_curves(history: pd.DataFrame) -> pd.DataFrame:
    """Add the gaps of each epoch to a history, positive where the network over-fits.

    Keras averages training figures during the epoch, with augmentation and dropout: there a gap can be negative.
    """
    return history[["epoch", "loss", "val_loss", "accuracy", "val_accuracy"]].assign(
        accuracy_gap=history["accuracy"] - history["val_accuracy"], loss_gap=history["val_loss"] - history["loss"]
    )


def measure_overfitting(history: pd.DataFrame, *, tolerance: float) -> CurveFigures:
    """Measure the curves of a history, in the epochs' own figures (see `tabulate_curves`, `find_onset`).

    Areas between the two curves are in shares or nats times epochs: trapezoids, negative where training is the worse.
    `curve_gaps` are of the best and the last epoch, without one that has no number.
    """
    curves = tabulate_curves(history)
    best = find_best_epoch(history["val_loss"])
    gaps: list[EpochGap] = [
        {
            "at": name,
            "epoch": int(row["epoch"]),
            "accuracy_gap": float(row["accuracy_gap"]),
            "loss_gap": float(row["loss_gap"]),
            "validation_loss": float(row["val_loss"]),
            "validation_accuracy": float(row["val_accuracy"]),
        }
        for name, row in (("best", curves.iloc[best - 1]), ("last", curves.iloc[-1]))
    ]
    return {
        "best_epoch": best,
        "onset_epoch": find_onset(history["val_loss"], tolerance=tolerance),
        "accuracy_area": _measure_area(curves["accuracy_gap"]),
        "loss_area": _measure_area(curves["loss_gap"]),
        "curve_gaps": [gap for gap in gaps if np.isfinite([gap["accuracy_gap"], gap["loss_gap"]]).all()],
    }


def _measure_area(gaps: "pd.Series[float]") -> float:
    return float(np.trapezoid(gaps[np.isfinite(gaps)]))
