"""Whether heat lies where it should: shares of it inside a mask, and the pointing game. No TensorFlow."""

from __future__ import annotations

import cv2
import numpy as np

from cvd.vis.sheets.overlays import upsample_map

# Of the longer side: the 15 px of Zhang et al., Top-Down Neural Attention by Excitation Backprop (IJCV 2018), on photos
# of 500 px.
TOLERANCE = 0.03


def measure_share(heat: np.ndarray, mask: np.ndarray) -> float:
    """Share of a map's heat that lies inside a mask ("energy-based pointing game", Wang et al. 2020, section 4.3).

    Args:
        heat: (h', w'), >= 0, of any size: it is laid on the mask's whole picture.
        mask: (h, w), bool.

    Returns:
        0 to 1; 0 for an empty map.
    """
    large = upsample_map(heat, *mask.shape).astype(np.float64)
    total = large.sum()
    return float(large[mask].sum() / total) if total > 0 else 0.0


def is_hit(heat: np.ndarray, mask: np.ndarray, *, tolerance: float = TOLERANCE) -> bool:
    """The pointing game (Zhang et al. 2018): whether the hottest spot is inside a mask or close enough.

    The middle of the hottest spot counts. An empty map points nowhere.

    Args:
        heat: (h', w'), >= 0, of any size: it is laid on the mask's whole picture.
        mask: (h, w), bool.
        tolerance: how far off is still a hit, as a share of the longer side; 0: not at all.
    """
    if not np.any(heat > 0) or not mask.any():
        return False
    cell = [float(places.mean()) for places in np.nonzero(heat == heat.max())]
    row, column = (
        min(int((place + 0.5) * side / n), side - 1)
        for place, side, n in zip(cell, mask.shape, heat.shape, strict=True)
    )
    distances = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return bool(distances[row, column] <= tolerance * max(mask.shape))
