"""What a training history tells of over-fitting: gaps, the best epoch, and the epoch from which it only got worse."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cvd.runtime.errors import InputError

COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
N_LAST = 3  # epochs that must at least follow an onset: one bad epoch is noise, not a trend


def read_history(path: str | Path) -> pd.DataFrame:
    """Reads a models/VARIANT.history.csv, one row per epoch, epochs from 1.

    Raises:
        InputError: the file is missing, empty, or lacks a column.
    """
    path = Path(path)
    variant = path.name.removesuffix(".history.csv")
    try:
        history = pd.read_csv(path, converters=dict.fromkeys(COLUMNS[1:], float))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: make it with `dvc repro train@{variant}`") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not a table of epochs: make it anew with `dvc repro -f train@{variant}`"
        ) from error
    missing = [name for name in COLUMNS if name not in history.columns]
    if missing or history.empty:
        fault = f"lacks {', '.join(missing)}" if missing else "has no epoch"
        raise InputError(f"{path} {fault}: make it anew with `dvc repro -f train@{variant}`")
    return history


def find_best_epoch(val_loss: ArrayLike) -> int:
    """The epoch, from 1, of the lowest validation loss; the first of equals; epochs without a number do not count."""
    values = np.asarray(val_loss, np.float64)
    if np.isnan(values).all():
        raise InputError(
            "the validation loss is not a number in any epoch: the training diverged, lower its learning_rate"
        )
    return int(np.nanargmin(values)) + 1


def smooth_losses(values: ArrayLike) -> NDArray[np.float64]:
    """A running median over a tenth of the epochs: one lucky or unlucky epoch does not move it, a trend does.

    Args:
        values: (epochs,), nats; infinite where there was no number.

    Returns:
        (epochs,): of each epoch the median of itself and of the `round(epochs / 20)` epochs on either side, as far as
        there are such. Fewer than 10 epochs stay as they are.
    """
    losses = np.asarray(values, np.float64)
    reach = round(len(losses) / 20)
    return np.array([np.median(losses[max(0, i - reach) : i + reach + 1]) for i in range(len(losses))])


def find_onset(val_loss: ArrayLike, *, tolerance: float) -> int | None:
    """The epoch from which over-fitting has set in: the first after which the validation loss does not recover.

    The loss of single epochs is noise and trend, so it is the smoothed loss (`smooth_losses`) that counts. Its lowest
    epoch is the onset, the last one of equals, if the loss rose after it for good: at least `N_LAST` epochs and a tenth
    of all follow it, and in every one of the last so many the smoothed loss lies above the lowest by more than the
    share `tolerance` of it. Otherwise the loss fell to the end, levelled off, came back, or there is too little
    after its lowest to tell a trend from noise: no onset.

    It is not always `find_best_epoch`, which is the one epoch of the lowest loss, luck included.

    Args:
        val_loss: (epochs,), nats. An epoch without a number counts as risen.
        tolerance: share of the lowest loss, >= 0; 0.05 means 5% above it.

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
    """The curves of plots/curves/VARIANT.csv: the history, and the gap of each epoch.

    `accuracy_gap` is training minus validation accuracy, `loss_gap` validation minus training loss, so that both are
    positive where the network over-fits. Training figures are those that Keras averaged during the epoch, on augmented
    images and with dropout where the variant has them: there the gap can be negative.
    """
    return history[["epoch", "loss", "val_loss", "accuracy", "val_accuracy"]].assign(
        accuracy_gap=history["accuracy"] - history["val_accuracy"], loss_gap=history["val_loss"] - history["loss"]
    )


def measure_overfitting(history: pd.DataFrame, *, tolerance: float) -> dict[str, Any]:
    """The figures of the curves.

    Args:
        history: as of `read_history`.
        tolerance: see `find_onset`.

    Returns:
        `best_epoch` and `onset_epoch` (from 1; the latter may be None); `accuracy_area` and `loss_area`, the areas
        between the two curves, trapezoids over the epochs, in shares or nats times epochs, negative where training is
        the worse; and `curve_gaps`, the gaps and the validation figures of the best and the last epoch: a list, which
        `dvc metrics` leaves out of its tables. All are of the epochs' own figures (see `tabulate_curves`).
    """
    curves = tabulate_curves(history)
    best = find_best_epoch(history["val_loss"])
    gaps: list[dict[str, Any]] = [
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
        **{f"{what}_area": _measure_area(curves[f"{what}_gap"]) for what in ("accuracy", "loss")},
        "curve_gaps": [gap for gap in gaps if np.isfinite([gap["accuracy_gap"], gap["loss_gap"]]).all()],
    }


def _measure_area(gaps: "pd.Series[float]") -> float:
    return float(np.trapezoid(gaps[np.isfinite(gaps)]))
