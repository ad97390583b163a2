"""cvd.data.intake.summary."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cvd.data.images.manifest import COLUMNS, QUARANTINE_COLUMNS
from cvd.data.intake.summary import stack_rows, summarise_data, tile_images, write_sheets


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
    assert summarise_data(make_manifest(), quarantine, n_masks=5) == {
        "members": 7,
        "images": 4,
        "quarantined": 3,
        "masks": 5,
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
        cv2.imwrite(str(tmp_path / path), np.full((20, 20, 3), (10, 120, 250), np.uint8))
    written = write_sheets(tmp_path, manifest, tmp_path)
    assert [path.name for path in written] == [
        *(f"{split}_{name}.png" for split in ("train", "validation", "test") for name in ("cat", "dog")),
        "near_duplicates.png",
    ]
    sheets = {path.stem: cv2.imread(str(path)) for path in written}
    assert np.abs(sheets["train_cat"][50, 50].astype(int) - (10, 120, 250)).max() < 4
    near = sheets["near_duplicates"]
    assert near.shape == (98 + 28 + 2, 2 * 98 + 2, 3)  # the one group, whose two images are placed, and two lines
    assert all((near[98 : 98 + 28, left : left + 96] < 100).any() for left in (2, 100)), "names and splits"


def test_groups_have_a_row_each() -> None:
    dark = np.zeros((9, 9, 3), np.uint8)
    lines = ("a name that is longer than its cell/é.jpg", "train")
    sheet = stack_rows([[dark, dark, dark], [dark, dark]], [[lines] * 3, [lines] * 2])
    assert sheet.shape == (2 * 126 + 2, 3 * 98 + 2, 3)
    filled = [[bool((sheet[row * 126 + 50, column * 98 + 50] == 0).all()) for column in range(3)] for row in range(2)]
    assert filled == [[True, True, True], [True, True, False]]


def test_no_sheet_without_near_duplicates(tmp_path: Path) -> None:
    manifest = make_manifest().assign(group=["g1", "g2", "g3", "g4"])
    for path in manifest["path"][:3]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / path), np.zeros((20, 20, 3), np.uint8))
    assert not [path for path in write_sheets(tmp_path, manifest, tmp_path) if path.stem == "near_duplicates"]
