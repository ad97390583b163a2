"""Parts of the training images, to see what more of them would do. No TensorFlow."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cvd.data.examples.shard_reader import INDEX
from cvd.data.images.manifest import SPLITS, UNUSED, select_split
from cvd.runtime.errors import InputError


def keep_share(manifest: pd.DataFrame, share: float) -> pd.DataFrame:
    """A manifest with a share of each class' training images, at least one of each; the others become unused.

    Those with the lowest hashes stay. That is as good as drawing lots, comes out the same every time, and puts each
    part inside every larger one.

    Args:
        manifest: as `cvd.data.images.manifest.read_manifest` gives it.
        share: above 0, at most 1.
    """
    train = manifest[manifest["split"] == "train"].sort_values("sha256")
    places = train.groupby("label").cumcount()
    n_kept = (share * train.groupby("label")["label"].transform("size")).round().clip(lower=1)
    part = manifest.copy()
    part.loc[train.index[places >= n_kept], ["path", "split"]] = ["", UNUSED]
    return part


def cut_parts(manifest: pd.DataFrame, shares: Mapping[str, float]) -> dict[str, pd.DataFrame]:
    """Manifests of the parts that differ from one another and from the whole, by name.

    Args:
        manifest: as `cvd.data.images.manifest.read_manifest` gives it.
        shares: of each part, in rising order.

    Raises:
        InputError: there are too few training images for any part.
    """
    n_all = n_before = len(select_split(manifest, "train"))
    parts = {}
    for name, share in shares.items():
        part = keep_share(manifest, share)
        n_kept = len(select_split(part, "train"))
        if n_kept not in (n_before, n_all):
            parts[name] = part
        n_before = n_kept
    if not parts:
        raise InputError(
            f"the manifest has {n_all} training images, too few to leave any out: get more of either class"
        )
    return parts


def keep_features(folder: str | Path, part: pd.DataFrame, out: str | Path) -> None:
    """Writes those rows of cached features that a part of the manifest holds, as the features stage would.

    Args:
        folder: holds index.json and {split}.npy, (n, k) float32.
        part: as of `keep_share`.
        out: folder that is created.

    Raises:
        InputError: the features lack an image of the part.
    """
    folder, out = Path(folder), Path(out)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    out.mkdir()
    for split in SPLITS:
        rows = select_split(part, split)
        places = {path: i for i, path in enumerate(index["paths"][split])}
        missing = [path for path in rows["path"] if path not in places]
        if missing:
            raise InputError(f"{folder} lacks {missing[0]} of {split}: run `dvc repro features`")
        features = np.load(folder / f"{split}.npy", mmap_mode="r")
        np.save(out / f"{split}.npy", features[[places[path] for path in rows["path"]]])
        index["paths"][split], index["labels"][split] = rows["path"].tolist(), rows["label"].tolist()
    (out / INDEX).write_text(json.dumps(index), encoding="utf-8")
