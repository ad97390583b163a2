"""Statistics of shares: how sure they are, whether two differ, whether "80%" is right 80 times out of 100."""

from math import comb
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Array = NDArray[Any]


def wilson_interval(n_right: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Wilson's score interval of shares of `n` >= 1 (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4).

    Returns:
        Lower and upper bounds within 0..1, float64, of the shape of both counts.
    """
    k, n = np.asarray(n_right), np.asarray(n)
    share = k / n
    z = ndtri(0.5 + 0.5 * confidence)  # the standard normal's quantile, 1.96 for 95%
    # Solve |share - p| = z sqrt(p (1 - p) / n) for p: two roots, middle -+ half.
    # In SciPy's order of operations, so that its `binomtest(...).proportion_ci(method="wilson")` gives the same bits.
    denominator = 2 * (n + z**2)
    middle = (2 * n * share + z**2) / denominator
    half = z / denominator * np.sqrt(4 * n * share * (1 - share) + z**2)
    return np.where(k == 0, 0.0, middle - half), np.where(k == n, 1.0, middle + half)


def newcombe_interval(
    k_first: int, n_first: int, k_second: int, n_second: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Newcombe's score interval of a difference of unpaired shares (Newcombe 1998, Stat. Med. 17:873, method 10).

    Returns:
        Lower and upper bound, within -1..1, of k_first / n_first - k_second / n_second.
    """
    p, q = k_first / n_first, k_second / n_second
    (p_low, p_high), (q_low, q_high) = (
        [float(bound) for bound in wilson_interval(k, n, confidence)]
        for k, n in ((k_first, n_first), (k_second, n_second))
    )
    # Squares of the distances to the bounds that make the difference small, or large.
    return p - q - np.hypot(p - p_low, q_high - q), p - q + np.hypot(p_high - p, q - q_low)


def tango_interval(
    n_only_first: ArrayLike, n_only_second: ArrayLike, n: ArrayLike, confidence: float = 0.95
) -> tuple[Array, Array]:
    """Tango's score interval of a difference of paired shares, second minus first (Tango 1998, Stat. Med. 17:891).

    Takes the numbers of images that only the first and only the second network classified correctly, of `n` >= 1. Of
    300 to 600 images, 5 to 40% of them such, 95% intervals cover 94.6 to 95.3%, enumerated over all outcomes.

    Returns:
        Lower and upper bounds within -1..1, float64, of the shape of the counts.
    """
    c, b, n = (np.asarray(count, np.float64) for count in np.broadcast_arrays(n_only_first, n_only_second, n))
    z = ndtri(0.5 + 0.5 * confidence)

    def is_within(delta: Array) -> Array:
        # q: the likeliest share of only the first, given the difference: the root of 2n q^2 + B q + C = 0.
        B, C = (2 * n - b + c) * delta - b - c, -c * delta * (1 - delta)
        q = (np.sqrt(np.maximum(B**2 - 8 * n * C, 0)) - B) / (4 * n)
        return np.asarray((b - c - n * delta) ** 2 <= z**2 * n * (2 * q + delta * (1 - delta)))

    bounds = []
    for end in (-1.0, 1.0):
        # The estimate is within, the end is not, unless it is the estimate: halve what lies between.
        inside, outside = (b - c) / n, np.full(n.shape, end)
        for _ in range(60):
            middle = (inside + outside) / 2
            within = is_within(middle)
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        bounds.append(inside)
    return bounds[0], bounds[1]


def bootstrap_accuracies(right: Array, *, n_bootstrap: int, seed: int) -> Array:
    """Paired bootstrap: accuracies on test sets drawn with replacement, the same draw for all variants.

    Takes (variants, images) bool, and returns (n_bootstrap, variants) float64.
    """
    rng = np.random.default_rng(seed)
    n = right.shape[1]
    scores = right.T.astype(np.float64)  # (images, variants), 1 where right
    share = np.full(n, 1 / n)
    # Counts of each image in a draw (100, images), times the scores: the number right (100, variants).
    # A hundred draws at a time keep memory low; sums of whole numbers are exact in any order.
    pieces = [
        rng.multinomial(n, share, size=min(100, n_bootstrap - start)) @ scores / n
        for start in range(0, n_bootstrap, 100)
    ]
    return np.concatenate(pieces)


def find_interval(replicates: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates (Efron 1979)."""
    low, high = np.quantile(replicates, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def find_mcnemar_p(n_only_first: int, n_only_second: int) -> float:
    """Exact two-sided McNemar test on the images that exactly one network classified correctly; 1 without any."""
    # If neither is better, each of these images is a fair coin: Binomial(n, 1/2).
    # Twice the weight of the shorter tail, in whole numbers, which Python divides without rounding errors.
    n, fewer = n_only_first + n_only_second, min(n_only_first, n_only_second)
    return float(min(1.0, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n))


def adjust_holm(p_values: ArrayLike) -> Array:
    """Holm's correction (Holm 1979) of p-values (m,), each to be compared with the level of the whole family."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    # The smallest p times m, the next times m - 1, ...; never below the one before, nor above 1.
    adjusted = np.minimum(1, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def _count_above(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Count negatives and positives at or above each distinct score, highest first: (thresholds,) each, and scores."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last image of each score
    n_positives = np.cumsum(labels[order])[last]
    return last + 1 - n_positives, n_positives, scores[order][last]


def find_roc(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """ROC curve of labels 0 and 1, both present: shares of false and true positives, and their thresholds.

    As scikit-learn's `roc_curve`, whose import takes a second: from (0, 0) at infinity to (1, 1); points on a straight
    line between their neighbours are left out.
    """
    n_negatives, n_positives, thresholds = _count_above(labels, scores)
    bends = (np.diff(n_negatives, 2) != 0) | (np.diff(n_positives, 2) != 0)
    corners = np.concatenate([[True], bends, [True]])[: len(thresholds)]
    false, true = (np.append(0.0, counts[corners]) / counts[-1] for counts in (n_negatives, n_positives))
    return false, true, np.append(np.inf, thresholds[corners])


def find_average_precision(labels: Array, scores: Array) -> float:
    """Average precision: of each step in recall the precision there, weighed by the step (no interpolation)."""
    n_negatives, n_positives, _ = _count_above(labels, scores)
    steps = np.diff(n_positives / n_positives[-1], prepend=0.0)
    return float(np.sum((steps * n_positives / (n_positives + n_negatives))[::-1]))


def tabulate_reliability(labels: Array, probabilities: Array, n_bins: int) -> pd.DataFrame:
    """Predicted and observed share of positives in equal-width bins of probability.

    A bin holds its upper edge, the first also 0, as in scikit-learn's `calibration_curve`. Empty bins are left out.

    Returns:
        Columns `low`, `high` (edges), `n`, `predicted` (mean probability), `observed` (share of positives), and
        `observed_low`, `observed_high` (its Wilson 95% interval).
    """
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], probabilities)  # (images,), each image's bin
    # (bins,): images, positives among them, and the sum of their probabilities.
    n = np.bincount(bins, minlength=n_bins)
    positives = np.bincount(bins, weights=labels, minlength=n_bins)
    total = np.bincount(bins, weights=probabilities, minlength=n_bins)
    used = n > 0
    low, high = wilson_interval(positives[used], n[used])
    return pd.DataFrame(
        {
            "low": edges[:-1][used],
            "high": edges[1:][used],
            "n": n[used],
            "predicted": total[used] / n[used],
            "observed": positives[used] / n[used],
            "observed_low": low,
            "observed_high": high,
        }
    )


def measure_ece(labels: Array, probabilities: Array, n_bins: int) -> float:
    """Expected calibration error: mean over the images of |observed - predicted| of their bin (Naeini et al. 2015)."""
    table = tabulate_reliability(labels, probabilities, n_bins)
    return float(np.average((table["observed"] - table["predicted"]).abs(), weights=table["n"]))
