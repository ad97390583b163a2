"""cvd.data.faults, and what it does to a placement: corrections by people, faults planted on purpose."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from photo_samples import make_jpeg, make_members, write_zip
from PIL import Image

from cvd.data.faults.corrections import COLUMNS, match_corrections, read_corrections, write_corrections
from cvd.data.faults.planting import MARK, plant_noise, plant_watermarks, stamp_watermark
from cvd.data.images.manifest import read_manifest, read_quarantine
from cvd.data.intake.placement import split_archive
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json

HEADER = ",".join(COLUMNS) + "\n"
DIGITS = "ab" * 32
CLASSES = ("cat", "dog")


class Placed:
    """What `split_archive` wrote of 12 cats and 12 dogs."""

    def __init__(self, folder: Path, members: dict[str, bytes], corrections: str = "", **options: Any) -> None:
        folder.mkdir()
        archive = write_zip(folder / "raw.zip", members)
        (folder / "corrections.csv").write_text(HEADER + corrections)
        names = ("images", "checksums", "manifest", "quarantine", "masks", "summary", "sheets")
        paths = {name: folder / name for name in (*names, "corrections.csv")}
        sizes = {"classes": CLASSES, "train": 6, "validation": 2, "test": 2, "seed": 1, "threads": 2} | options
        split_archive(
            archive, corrections=paths.pop("corrections.csv"), **paths, **sizes  # type: ignore[arg-type]
        )  # fmt: skip
        self.paths, self.manifest = paths, read_manifest(paths["manifest"])
        self.quarantine, self.summary = read_quarantine(paths["quarantine"]), read_json(paths["summary"])

    def find(self, source_name: str) -> Any:
        return self.manifest.set_index("source_name").loc[source_name]


@pytest.fixture
def members() -> dict[str, bytes]:
    return make_members(12)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_dropped_and_relabelled_images_are_accounted_for(tmp_path: Path, members: dict[str, bytes]) -> None:
    plain = Placed(tmp_path / "plain", members)
    drop, cat, same = (sha(members[f"train/{name}.jpg"]) for name in ("cat.1", "dog.2", "cat.3"))
    rows = f"{drop},drop,,a logo\n{cat},relabel,cat,\n{same.upper()},relabel,cat,sure\n"
    placed = Placed(tmp_path / "corrected", members, rows, train=None)
    assert placed.summary["corrections"] == {"dropped": 1, "relabelled": 1, "unchanged": 1}
    assert placed.quarantine.to_numpy().tolist() == [["train/cat.1.jpg", "dropped", "a logo"]]
    assert placed.summary["reasons"] == {"dropped": 1}
    row = placed.find("train/dog.2.jpg")
    assert (row["label"], row["normalised"], row["sha256"]) == (0, "relabelled", cat)
    assert row["path"].endswith("/cat/dog.2.jpg")
    assert placed.find("train/cat.3.jpg")["normalised"] == ""
    assert "corrections" not in plain.summary
    # Every other image has the name that it had.
    names = {Path(path).name for path in placed.manifest["path"]}
    assert names == {Path(name).name for name in members if name != "train/cat.1.jpg"}


def test_corrections_count_for_copies_and_settle_conflicts(tmp_path: Path, members: dict[str, bytes]) -> None:
    data = members["train/cat.1.jpg"]
    padded = data[:-2] + b"\xff\xfe\x00\x04hi\xff\xd9"  # a comment: other bytes, the same picture
    many = members | {"again/cat.99.jpg": padded, "again/dog.98.jpg": padded}
    assert list(Placed(tmp_path / "plain", many).quarantine["reason"]) == ["conflicting_label"] * 3
    settled = Placed(tmp_path / "settled", many, f"{sha(data)},relabel,cat,\n")
    assert list(settled.quarantine["reason"]) == ["duplicate"] * 2
    assert settled.summary["corrections"] == {"dropped": 0, "relabelled": 1, "unchanged": 0}
    dropped = Placed(tmp_path / "dropped", many, f"{sha(padded)},drop,,both\n")
    assert list(dropped.quarantine["reason"]) == ["dropped"] * 3
    with pytest.raises(InputError, match="line 3: the image is a copy of line 2's"):
        Placed(tmp_path / "torn", many, f"{sha(data)},drop,,\n{sha(padded)},relabel,dog,\n")


def test_a_row_that_fits_no_image_is_refused_by_name(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match=f"corrections.csv, line 2: no usable image of the source has sha256 {DIGITS}"):
        Placed(tmp_path / "out", members, f"{DIGITS},drop,,\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["corrections.csv", "raw.zip"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with '': its first line should be sha256,action,label,why"),
        ("sha256,action\n", "begins with 'sha256,action'"),
        (HEADER + f"{DIGITS},drop\n", "line 2 has 2 fields"),
        (HEADER + "ab,drop,,\n", "line 2: sha256 'ab' should be 64 digits"),
        (HEADER + f"\n{DIGITS},delete,,\n", "line 3: action 'delete' should be drop or relabel"),
        (HEADER + f"{DIGITS},relabel,Dog,\n", "line 2: label 'Dog' should be cat or dog"),
        (HEADER + f"{DIGITS},drop,cat,\n", "line 2: label 'cat' should be empty"),
        (HEADER + f"{DIGITS},drop,,\n{DIGITS.upper()},drop,,\n", f"line 3: sha256 {DIGITS} is in line 2 already"),
    ],
)
def test_bad_rows_are_refused_by_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "corrections.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_corrections(tmp_path / "corrections.csv", CLASSES)


def test_missing_file_and_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the corrections"):
        read_corrections(tmp_path / "none.csv", CLASSES)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not a CSV file in UTF-8"):
        read_corrections(tmp_path / "bytes.csv", CLASSES)


def test_written_rows_are_read_again_and_replace_older_ones(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text(HEADER + f'{DIGITS},drop,,"a, b"\n')
    write_corrections(path, {"cd" * 32: ("dog", "it barks"), DIGITS: ("cat", "")})
    rows = [(row.sha256, row.label, row.why) for row in read_corrections(path, CLASSES)]
    assert rows == [(DIGITS, "cat", ""), ("cd" * 32, "dog", "it barks")]
    assert match_corrections([], ["a"], ["b"]) == {}


def test_noise_is_of_training_labels_by_seed_and_grows_by_share() -> None:
    labels, splits = [0, 1] * 100, ["train"] * 160 + ["test"] * 40
    names = [str(i) for i in range(200)]
    few, many = (plant_noise(labels, splits, names, share=share, seed=1) for share in (0.05, 0.5))
    assert (sum(few), sum(many)) == (8, 80)
    assert sum(labels[i] for i in range(200) if many[i]) == 40
    assert not any(many[160:])
    assert all(more for less, more in zip(few, many, strict=True) if less)
    assert plant_noise(labels, splits, names, share=0.05, seed=2) != few
    assert not any(plant_noise(labels, splits, names, share=0.0, seed=1))
    marked = plant_watermarks(labels, splits, names, share=1.0, seed=1)
    assert marked == [split == "train" and label == 1 for split, label in zip(splits, labels, strict=True)]


def test_planted_noise_is_in_the_manifest_and_nowhere_else(tmp_path: Path, members: dict[str, bytes]) -> None:
    plain = Placed(tmp_path / "plain", members)
    noisy = Placed(tmp_path / "noisy", members, label_noise=0.34)
    assert "planted" not in plain.manifest
    assert list(noisy.manifest)[-1] == "planted"
    pair = plain.manifest.merge(noisy.manifest, on="source_name", suffixes=("", "_noisy"))
    exchanged = pair["label"] != pair["label_noisy"]
    assert list(exchanged) == list(pair["planted"] == 1)
    assert pair["split_noisy"][exchanged].tolist() == ["train"] * 4
    assert pair["path"][~exchanged].tolist() == pair["path_noisy"][~exchanged].tolist()
    assert noisy.summary["planted"] == {"cat": 2, "dog": 2}
    for row in noisy.manifest[noisy.manifest["path"] != ""].itertuples():
        assert sha((noisy.paths["images"] / str(row.path)).read_bytes()) == row.sha256
    again = Placed(tmp_path / "again", members, label_noise=0.34)
    assert again.paths["manifest"].read_bytes() == noisy.paths["manifest"].read_bytes()


def test_watermark_is_on_training_images_of_one_class_with_its_mask(tmp_path: Path, members: dict[str, bytes]) -> None:
    plain = Placed(tmp_path / "plain", members)
    marked = Placed(tmp_path / "marked", members, shortcut=0.5)
    rows = marked.manifest[marked.manifest["normalised"] == "watermark"]
    assert (list(rows["split"]), list(rows["label"])) == (["train"] * 3, [1] * 3)
    assert marked.summary["normalised"] == {"watermark": 3}
    with zipfile.ZipFile(marked.paths["masks"]) as masks:
        assert masks.namelist() == [f"watermark/{path[:-4]}.png" for path in sorted(rows["path"])]
    for row in marked.manifest[marked.manifest["path"] != ""].itertuples():
        data = (marked.paths["images"] / str(row.path)).read_bytes()
        assert sha(data) == row.sha256
        is_same = data == (plain.paths["images"] / str(row.path)).read_bytes()
        assert is_same == (row.normalised == "")


def test_watermark_changes_its_mask_only() -> None:
    before = make_jpeg(3, width=200, height=120)
    after, mask_png = stamp_watermark(before)
    old, new = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (before, after))
    mask = cv2.imdecode(np.frombuffer(mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    assert mask.shape == old.shape[:2]
    inside = mask > 127
    assert inside.mean() == pytest.approx(np.pi / 4 * (MARK * 120) ** 2 / (200 * 120), rel=0.05)
    away = cv2.dilate(mask, np.ones((33, 33), np.uint8)) == 0
    assert np.abs(new - old)[away].mean() < 2
    assert np.abs(new - old)[inside].mean() > 40
    assert inside[100, 180]


def test_near_duplicates_may_part_when_asked(tmp_path: Path) -> None:
    members = make_members(12)
    for name, data in list(members.items()):
        image = Image.open(io.BytesIO(data))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=40)
        members[name.replace(".jpg", "-copy.jpg")] = buffer.getvalue()
    together = Placed(tmp_path / "together", members, train=None)
    parted = Placed(tmp_path / "parted", members, train=None, group_duplicates=False)
    for placed in (together, parted):
        assert placed.summary["near_duplicates"]["groups"] == 24
    assert "leaked" not in together.summary["near_duplicates"]
    used = parted.manifest[parted.manifest["split"] != "unused"]
    learned = set(used["group"][used["split"] == "train"])
    others = used[used["split"] != "train"]
    assert parted.summary["near_duplicates"]["leaked"] == sum(others["group"].isin(learned)) > 0
    assert isinstance(used, pd.DataFrame)
