"""Whether "80% dog" is a dog 80 times out of 100."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cvd.evaluation.intervals import wilson_interval

Array = NDArray[Any]


def tabulate_reliability(labels: Array, probabilities: Array, n_bins: int) -> pd.DataFrame:
    """Predicted and observed share of dogs in equal-width bins of probability.

    A bin holds its upper edge, the first also 0, as in scikit-learn's `calibration_curve`. Empty bins are left out.

    Returns:
        Columns `low`, `high` (edges), `n`, `predicted` (mean probability), `observed` (share of dogs), and
        `observed_low`, `observed_high` (its Wilson 95% interval).
    """
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], probabilities)
    n = np.bincount(bins, minlength=n_bins)
    dogs = np.bincount(bins, weights=labels, minlength=n_bins)
    total = np.bincount(bins, weights=probabilities, minlength=n_bins)
    used = n > 0
    low, high = wilson_interval(dogs[used], n[used])
    return pd.DataFrame(
        {
            "low": edges[:-1][used],
            "high": edges[1:][used],
            "n": n[used],
            "predicted": total[used] / n[used],
            "observed": dogs[used] / n[used],
            "observed_low": low,
            "observed_high": high,
        }
    )


def measure_ece(labels: Array, probabilities: Array, n_bins: int) -> float:
    """Expected calibration error: mean over the images of |observed - predicted| of their bin (Naeini et al. 2015)."""
    table = tabulate_reliability(labels, probabilities, n_bins)
    return float(np.average((table["observed"] - table["predicted"]).abs(), weights=table["n"]))
