"""cvd.data.images.manifest."""

from pathlib import Path

import pandas as pd
import pytest

from cvd.data.images.manifest import (
    COLUMNS,
    REASONS,
    choose_images,
    order_naturally,
    read_manifest,
    read_quarantine,
    select_split,
    write_manifest,
    write_quarantine,
)
from cvd.runtime.errors import InputError


def make_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for split in ("unused", "test", "validation", "train"):
        for label, name in ((1, "dog"), (0, "cat")):
            for i in (10, 2, 1):
                path = "" if split == "unused" else f"{split}/{name}/{name}.{split}{i}.jpg"
                row = dict.fromkeys(COLUMNS, "a")
                rows.append(
                    {**row, "path": path, "label": label, "split": split, "width": 4, "height": 5}
                    | {"source_name": f"{name}.{i}\n,.jpg", "normalised": "png 16-bit"}
                )
    return rows


@pytest.fixture
def manifest(tmp_path: Path) -> pd.DataFrame:
    write_manifest(make_rows(), tmp_path / "manifest.csv")
    return read_manifest(tmp_path / "manifest.csv")


def test_rows_survive_and_are_ordered_naturally(manifest: pd.DataFrame) -> None:
    assert list(manifest.columns) == list(COLUMNS)
    assert len(manifest) == 24
    assert list(manifest["path"][:3]) == [f"train/cat/cat.train{i}.jpg" for i in (1, 2, 10)]
    assert list(manifest["split"].unique()) == ["train", "validation", "test", "unused"]
    assert manifest["label"].dtype == "int64"
    assert set(manifest["path"][manifest["split"] == "unused"]) == {""}
    assert manifest["source_name"][0] == "cat.1\n,.jpg"


def test_the_order_of_rows_given_does_not_matter(tmp_path: Path) -> None:
    write_manifest(make_rows(), tmp_path / "a.csv")
    write_manifest(reversed(make_rows()), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_select_split(manifest: pd.DataFrame) -> None:
    rows = select_split(manifest, "validation")
    assert list(rows["label"]) == [0, 0, 0, 1, 1, 1]
    assert list(rows.index) == list(range(6))
    with pytest.raises(ValueError, match="'valid' is not one of train, validation, test"):
        select_split(manifest, "valid")


def test_choose_images_takes_turns(manifest: pd.DataFrame) -> None:
    names = [path.split("/")[-1] for path in choose_images(manifest, 3)]
    assert names == ["cat.test1.jpg", "dog.test1.jpg", "cat.test2.jpg"]
    assert len(choose_images(manifest, 100)) == 6


def test_choose_images_by_path(manifest: pd.DataFrame) -> None:
    assert choose_images(manifest, ["train/dog/dog.train2.jpg"]) == ["train/dog/dog.train2.jpg"]
    with pytest.raises(InputError, match=r"'train/dog/no.jpg' is not in the manifest.*test/cat/cat.test1.jpg"):
        choose_images(manifest, ["train/dog/no.jpg"])
    with pytest.raises(InputError, match="image '' is not"):
        choose_images(manifest, [""])


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", ",".join(COLUMNS) + "\np,cat,train,1,1,s,g,n,\n"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "manifest.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"manifest\.csv"):
        read_manifest(path)


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    write_manifest(make_rows(), tmp_path / "manifest.csv")
    text = (tmp_path / "manifest.csv").read_text().replace(",test,", ",exam,")
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(InputError, match="exam"):
        read_manifest(tmp_path / "manifest.csv")


def test_natural_order_of_numbers_of_any_length() -> None:
    names = ["cat.0", "cat.1", "cat.01", "cat.2", "cat.10", f"cat.{'9' * 5000}", "cat.x"]
    assert sorted(names, key=order_naturally) == ["cat.0", "cat.01", *names[1:2], *names[3:]]


@pytest.mark.parametrize(
    "name", ['a"b,c.jpg', "NULL", " cat.1.jpg ", "=1+1.jpg", "\u732b \u00e4.jpg", "'", '""', "", "-", "1e5", "a\\nb"]
)
def test_odd_names_read_back_exactly(tmp_path: Path, name: str) -> None:
    write_manifest([{**make_rows()[0], "source_name": name}], tmp_path / "m.csv")
    assert list(read_manifest(tmp_path / "m.csv")["source_name"]) == [name]
    write_quarantine([{"source_name": name, "reason": "empty", "detail": name}], tmp_path / "q.csv")
    assert read_quarantine(tmp_path / "q.csv").to_dict("records") == [
        {"source_name": name, "reason": "empty", "detail": name}
    ]


def test_quarantine_round_trip(tmp_path: Path) -> None:
    rows = [{"source_name": f"{i}.jpg", "reason": reason, "detail": "a, b"} for i, reason in enumerate(REASONS)]
    write_quarantine(reversed(rows), tmp_path / "q.csv")
    assert read_quarantine(tmp_path / "q.csv").to_dict("records") == rows
