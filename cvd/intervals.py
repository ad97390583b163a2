"""How sure a share or a difference of shares is: 95% intervals."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

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
    share, n = np.asarray(n_right) / np.asarray(n), np.asarray(n)
    z = norm.ppf(0.5 + confidence / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At the ends the bounds are 0 and 1 exactly; rounding must not push them past the estimate.
    return np.clip(np.minimum(middle - half, share), 0, 1), np.clip(np.maximum(middle + half, share), 0, 1)


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
