"""Cascading randomisation: a map that shows what a network has learnt changes when that is taken from it.

Adebayo et al., Sanity Checks for Saliency Maps, 2018, section 4: layers are randomised from the output down, one after
the other, and the maps before and after are compared by rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
from scipy.stats import rankdata

N_STEPS = 6  # copies of a network, from its last layer shuffled to all


def randomise_from_top(model: keras.Model, *, seed: int, n_steps: int = N_STEPS) -> Iterator[tuple[str, keras.Model]]:
    """Copies of a model with more and more layers' weights shuffled, from the output down to the input.

    Each weight array's values are dealt out anew: their distribution stays, so that no map fades or explodes for
    the scale alone, and what training arranged is gone.

    Args:
        model: any Keras model; it is left as it is.
        seed: of the shuffling.
        n_steps: at most so many copies; layers are then taken in groups, the topmost first and by itself.

    Yields:
        The lowest layer that has been shuffled, and the model, the same object each time.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    layers = [layer for layer in reversed(copy.layers) if layer.get_weights()]
    stops = {round(stop) for stop in np.linspace(0, len(layers) - 1, min(n_steps, len(layers)))}
    rng = np.random.default_rng(seed)
    for number, layer in enumerate(layers):
        layer.set_weights([rng.permutation(weight.ravel()).reshape(weight.shape) for weight in layer.get_weights()])
        if number in stops:
            yield layer.name, copy


def correlate_maps(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each map with its other.

    Args:
        maps: (n, h, w).
        others: (n, h, w).

    Returns:
        (n,), -1 to 1. A map of one value has no ranks: beside another such one it counts as 1, else as 0.
    """
    found = []
    for first, second in zip(maps.reshape(len(maps), -1), others.reshape(len(others), -1), strict=True):
        is_flat = [bool(np.ptp(each) == 0) for each in (first, second)]
        if any(is_flat):
            found.append(float(all(is_flat)))
        else:
            found.append(float(np.corrcoef(rankdata(first), rankdata(second))[0, 1]))
    return np.array(found)
