"""A share of the training images, to see what more of them would do. No TensorFlow."""

from dataclasses import replace

import numpy as np
import pandas as pd

from cvd.data.examples.reading import Examples


def take_share(examples: Examples, manifest: pd.DataFrame, share: float) -> Examples:
    """Restrict the training examples to a share of each class.

    Args:
        examples: of the split train, as `cvd.data.examples.reading.read_split` gives them.
        manifest: as `cvd.data.images.manifest.read_manifest` gives it.
        share: above 0, at most 1.

    Returns:
        Those of `choose_share`, in the same order; the examples themselves where the share is 1.
    """
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
    """Choose the training images with the lowest hashes: a share of each class, at least one image of each.

    Hashes are as good as random draws and come out the same every time, and each share lies within every larger one.

    Returns:
        Their paths, as in the manifest.
    """
    train = manifest[manifest["split"] == "train"].sort_values("sha256")
    places = train.groupby("label").cumcount()
    n_chosen = (share * train.groupby("label")["label"].transform("size")).round().clip(lower=1)
    return set(train["path"][places < n_chosen])
