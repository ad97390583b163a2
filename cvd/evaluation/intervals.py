"""How sure a share or a difference of shares is: 95% intervals."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Array = NDArray[Any]


def wilson_interval(n_right: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Wilson's score interval of a share (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4).

    Args:
        n_right: successes, any shape.
        n: trials, same shape, at least 1.
        confidence: 0 to 1.

    Returns:
        Lower and upper bounds, float64, each within 0..1.
    """
    k, n = np.asarray(n_right), np.asarray(n)
    share = k / n
    z = ndtri(0.5 + 0.5 * confidence)
    # In SciPy's order of operations, so that its `binomtest(...).proportion_ci(method="wilson")` gives the same bits.
    denominator = 2 * (n + z**2)
    middle = (2 * n * share + z**2) / denominator
    half = z / denominator * np.sqrt(4 * n * share * (1 - share) + z**2)
    return np.where(k == 0, 0.0, middle - half), np.where(k == n, 1.0, middle + half)


def bootstrap_accuracies(right: Array, *, n_bootstrap: int, seed: int) -> Array:
    """Accuracies on test sets drawn with replacement from the test images, the same draw for all variants.

    Args:
        right: (variants, images) bool.
        n_bootstrap: replicates.
        seed: of the draws.

    Returns:
        (n_bootstrap, variants) float64.
    """
    rng = np.random.default_rng(seed)
    n = right.shape[1]
    scores = right.T.astype(np.float64)
    share = np.full(n, 1 / n)
    # How often each image is drawn, in pieces to keep memory low. Sums of whole numbers are exact in any order.
    pieces = [
        rng.multinomial(n, share, size=min(100, n_bootstrap - start)) @ scores / n
        for start in range(0, n_bootstrap, 100)
    ]
    return np.concatenate(pieces)


def find_interval(replicates: Array, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap replicates (Efron 1979)."""
    low, high = np.quantile(replicates, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
