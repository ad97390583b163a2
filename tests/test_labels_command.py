"""`cvd labels`: suspects listed, decisions written."""

from pathlib import Path

import pandas as pd
import pytest

from cvd.cli import parse_arguments
from cvd.data.faults.corrections import read_corrections
from cvd.data.images.manifest import COLUMNS, write_manifest
from cvd.runtime.errors import InputError

HEADER = "sha256,action,label,why\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".dvc").mkdir()
    rows = []
    for number, (name, words) in enumerate((("cat.1", ""), ("cat.2", ""), ("dog.3", "watermark"))):
        row = {"path": f"train/{name[:3]}/{name}.jpg", "label": int(name[0] == "d"), "sha256": str(number) * 64}
        rows.append(
            dict.fromkeys(COLUMNS, "1") | row | {"split": "train", "source_name": f"{name}.jpg", "normalised": words}
        )
    (tmp_path / "data").mkdir()
    (tmp_path / "predictions").mkdir()
    write_manifest(rows, tmp_path / "data/manifest.csv")
    (tmp_path / "data/corrections.csv").write_text(HEADER)
    labels = [("train/cat/cat.1.jpg", 0, 0.98, 0.02, "suspect"), ("train/dog/dog.3.jpg", 1, 0.2, 0.2, "plausible")]
    labels.append(("train/cat/cat.2.jpg", 0, 0.1, 0.9, "plausible"))
    columns = ["path", "label", "probability", "score", "verdict"]
    pd.DataFrame(labels, columns=columns).to_csv(tmp_path / "predictions/labels.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def cvd(*words: str) -> int:
    args = parse_arguments(["labels", *words])
    code: int = args.work(args)
    return code


def test_suspects_are_listed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cvd("-n", "2") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 labels are suspect; the most suspicious first:",
        "label  answer    sure  verdict    path",
        "cat    dog      98.0%  suspect    train/cat/cat.1.jpg",
        "dog    cat      80.0%  plausible  train/dog/dog.3.jpg",
    ]


@pytest.mark.parametrize("file", ["train/cat/cat.1.jpg", "data/images/train/cat/cat.1.jpg", "cat.1.jpg"])
def test_accepted_and_dropped_images_become_lines(project: Path, file: str) -> None:
    assert cvd("--accept", file, "--drop", "cat.2.jpg") == 0
    written = {
        row.sha256[0]: (row.label, row.why)
        for row in read_corrections(project / "data/corrections.csv", ("cat", "dog"))
    }
    assert written == {
        "0": ("dog", "relabelled by cvd labels: answer dog 98.0%"),
        "1": (None, "dropped by cvd labels: answer cat 90.0%"),
    }


def test_a_person_may_know_better_than_the_answers(project: Path) -> None:
    assert cvd("--relabel", "cat.1.jpg", "cat.2.jpg", "--why", "seen") == 0
    written = read_corrections(project / "data/corrections.csv", ("cat", "dog"))
    assert {row.sha256[0]: (row.label, row.why) for row in written} == {"0": ("dog", "seen"), "1": ("dog", "seen")}


def test_lines_of_a_page_are_taken_as_they_are(project: Path) -> None:
    (project / "mine.csv").write_text(f"{HEADER}{'a' * 64},drop,,both animals\n")
    cvd("--accept", "mine.csv")
    assert (project / "data/corrections.csv").read_text() == f"{HEADER}{'a' * 64},drop,,both animals\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--accept", "cat.9.jpg"],
            "'cat.9.jpg' is no image of data/manifest.csv: give a path as `cvd labels` lists it",
        ),
        (
            ["--accept", "cat.2.jpg"],
            "cat.2.jpg is called cat, and so says the answer: `--relabel` gives it the other label, `--drop` leaves",
        ),
        (["--drop", "dog.3.jpg"], "dog.3.jpg bears a planted watermark: set data.drawn.shortcut to 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(project: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cvd(*words)
    assert (project / "data/corrections.csv").read_text() == HEADER
