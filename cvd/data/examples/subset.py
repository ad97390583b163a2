"""A share of the training images, to see what more of them would do. No TensorFlow."""

from dataclasses import replace

import numpy as np
import pandas as pd

from cvd.data.examples.reading import Examples


def take_share(examples: Examples, manifest: pd.DataFrame, share: float) -> Examples:
    """Restrict the training examples to a share (above 0, at most 1) of each class: those of `choose_share`."""
    if share == 1:
        return examples
    chosen = choose_share(manifest, share)
    places = np.flatnonzero([path in chosen for path in examples.paths])
    return replace(
        examples,
        paths=[examples.paths[place] for place in places],
        labels=examples.labels[places],
        fetch=lambda indices: examples.fetch(places[indices]),
    )


def choose_share(manifest: pd.DataFrame, share: float) -> set[str]:
    """Choose paths of the training images with the lowest hashes: a share of each class, at least one image.

    Hashes are as good as random draws and repeatable, and each share contains every smaller one.
    """
    train = manifest[manifest["split"] == "train"].sort_values("sha256")
    places = train.groupby("label").cumcount()
    n_chosen = (share * train.groupby("label")["label"].transform("size")).round().clip(lower=1)
    return set(train["path"][places < n_chosen])
