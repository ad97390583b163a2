"""Learning curves against data size: parts within parts, as many steps, a table in order, honest sentences."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cvd.data.subset import keep_features, keep_share
from cvd.errors import InputError
from cvd.evaluation import sizes


def make_manifest(n_cats: int, n_dogs: int) -> pd.DataFrame:
    """Training images of either class, with hashes in no order, then two of validation, one of test, one unused."""
    label = [0] * n_cats + [1] * n_dogs + [0, 1, 0, 1]
    split = ["train"] * (n_cats + n_dogs) + ["validation", "validation", "test", "unused"]
    path = [f"{name}/{i}.jpg" for i, name in enumerate(split[:-1])] + [""]
    sha256 = [f"{hash_of:08x}" for hash_of in np.random.default_rng(1).permutation(len(label))]
    return pd.DataFrame({"path": path, "label": label, "split": split, "sha256": sha256})


def make_measured(accuracy: float, n_train: int, gap: float) -> dict[str, Any]:
    return {
        "train": {"accuracy": accuracy + gap, "details": [{"n_images": n_train}]},
        "validation": {"accuracy": accuracy},
        "test": {"accuracy": accuracy, "accuracy_low": accuracy - 0.05, "accuracy_high": accuracy + 0.05},
        "overfitting": {"accuracy_gap": gap},
        "training": {"epochs": 8},
    }


def test_parts_lie_within_larger_ones_and_the_rest_stays() -> None:
    manifest = make_manifest(40, 24)
    parts = {name: keep_share(manifest, share) for name, share in sizes.PARTS.items()}
    kept = {name: set(part.index[part["split"] == "train"]) for name, part in parts.items()}
    assert kept["eighth"] < kept["quarter"] < kept["half"] < set(range(64))
    for name, part in parts.items():
        train = part[part["split"] == "train"]
        assert train["label"].value_counts().to_dict() == {0: 40 * sizes.PARTS[name], 1: 24 * sizes.PARTS[name]}
        pd.testing.assert_frame_equal(part.iloc[64:], manifest.iloc[64:])
        dropped = part[part["split"] == "unused"]
        assert set(dropped["path"]) == {""}
        for label in (0, 1):  # the lowest hashes stay
            assert max(train["sha256"][train["label"] == label]) < min(
                dropped["sha256"][:-1][dropped["label"] == label]
            )
    pd.testing.assert_frame_equal(keep_share(manifest, 1), manifest)
    assert (keep_share(make_manifest(3, 1), 1 / 8)["split"] == "train").sum() == 2


def test_features_of_a_part_are_those_of_its_images(tmp_path: Path) -> None:
    manifest = make_manifest(8, 8)
    whole = tmp_path / "whole"
    whole.mkdir()
    index: dict[str, Any] = {"backbone": {"name": "B"}, "paths": {}, "labels": {}}
    for split in ("train", "validation", "test"):
        rows = manifest[manifest["split"] == split]
        index["paths"][split], index["labels"][split] = rows["path"].tolist(), rows["label"].tolist()
        np.save(whole / f"{split}.npy", rows.index.to_numpy(np.float32)[:, np.newaxis])
    (whole / "index.json").write_text(json.dumps(index))
    part = keep_share(manifest, 1 / 4)
    keep_features(whole, part, tmp_path / "part")
    found = json.loads((tmp_path / "part/index.json").read_text())
    assert found["backbone"] == {"name": "B"}
    for split, n in (("train", 4), ("validation", 2), ("test", 1)):
        rows = part[part["split"] == split]
        assert len(rows) == n
        assert (found["paths"][split], found["labels"][split]) == (rows["path"].tolist(), rows["label"].tolist())
        np.testing.assert_array_equal(np.load(tmp_path / f"part/{split}.npy")[:, 0], rows.index)
    with pytest.raises(InputError, match="lacks other of test: run `dvc repro features`"):
        keep_features(whole, part.replace("test/18.jpg", "other"), tmp_path / "again")


def test_fewer_images_are_seen_as_often() -> None:
    block = {"epochs": 42, "patience": None, "width": 32}
    assert sizes.lengthen_training(block, 8.0) == {"epochs": 336, "patience": None, "width": 32}
    assert sizes.lengthen_training({"epochs": 3, "patience": 2}, 7 / 2) == {"epochs": 10, "patience": 7}


def test_table_and_sentences() -> None:
    measured = [
        make_measured(accuracy, n, gap) for accuracy, n, gap in ((0.8, 80, 0.1), (0.5, 10, 0.5), (0.6, 40, 0.3))
    ]
    table = sizes.tabulate_sizes("baseline", measured)
    assert tuple(table) == sizes.COLUMNS
    assert table["n_images"].tolist() == [10, 40, 80]
    assert table["test"].tolist() == [0.5, 0.6, 0.8]
    assert table["test_low"].tolist() == [0.45, 0.6 - 0.05, 0.75]
    assert sizes.describe_sizes(table) == [
        "baseline: 8 times the images (10 to 80) take test accuracy from 50.0% to 80.0%, "
        "and the gap from 50.0 to 10.0 points."
    ]
    few = [make_measured(accuracy, n, 0.1) for accuracy, n in ((0.6, 10), (0.64, 20))]
    (unsure,) = sizes.describe_sizes(sizes.tabulate_sizes("small", few))
    assert "from 60.0% to 64.0% (their intervals overlap: it may be the luck of the test images), and the gap" in unsure
    assert "| baseline | 80 | 8 | 90.0% | 80.0% | 80.0% (75.0% to 85.0%) | +10.0 |" in sizes.render_sizes(table)
