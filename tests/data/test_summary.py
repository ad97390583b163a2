"""cvd.data.summary."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cvd.data.manifest import COLUMNS, QUARANTINE_COLUMNS
from cvd.data.summary import summarise_data, tile_images, write_sheets


def make_manifest() -> pd.DataFrame:
    rows = [
        ("train/cat/cat.1.jpg", 0, "train", 10, 40, "a", "g1", "b.jpg", "png 16-bit"),
        ("train/dog/dog.1.jpg", 1, "train", 20, 30, "b", "g1", "a.jpg", "png"),
        ("test/cat/cat.2.jpg", 0, "test", 60, 20, "c", "g2", "c.jpg", ""),
        ("", 1, "unused", 70, 10, "d", "g3", "d.jpg", ""),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_summary_counts() -> None:
    quarantine = pd.DataFrame(
        [("x", "empty", ""), ("y", "empty", ""), ("z", "no_label", "")], columns=QUARANTINE_COLUMNS
    )
    assert summarise_data(make_manifest(), quarantine) == {
        "members": 7,
        "images": 4,
        "quarantined": 3,
        "splits": {
            "train": {"cat": 1, "dog": 1},
            "validation": {"cat": 0, "dog": 0},
            "test": {"cat": 1, "dog": 0},
            "unused": {"cat": 0, "dog": 1},
        },
        "reasons": {"empty": 2, "no_label": 1},
        "normalised": {"16-bit": 1, "png": 2},
        "width": {"least": 10, "median": 40, "most": 70},
        "height": {"least": 10, "median": 25, "most": 40},
        "near_duplicates": {
            "groups": 1,
            "images": 2,
            "largest": 2,
            "of_both_classes": 1,
            "left_out": 0,
            "names": [["a.jpg", "b.jpg"]],
        },
    }


def test_tiles_fit_whole_images() -> None:
    wide, tall = np.zeros((10, 400, 3), np.uint8), np.zeros((30, 3, 3), np.uint8)
    sheet = tile_images([wide, tall])
    assert sheet.shape == (100, 198, 3)
    assert (sheet[40:60, 2:98] == 0).any(axis=(0, 2)).all()
    assert (sheet[2:98, 100:196] == 0).any(axis=(1, 2)).all()
    assert (sheet[:2] == 255).all()
    assert tile_images([wide] * 20).shape == (3 * 98 + 2, 8 * 98 + 2, 3)


def test_sheets(tmp_path: Path) -> None:
    manifest = make_manifest()
    for path in manifest["path"][:3]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / path), np.full((20, 20, 3), 7, np.uint8))
    written = write_sheets(tmp_path, manifest, tmp_path)
    assert [path.name for path in written] == [
        f"{split}_{name}.png" for split in ("train", "validation", "test") for name in ("cat", "dog")
    ]
    assert all(cv2.imread(str(path)) is not None for path in written)
