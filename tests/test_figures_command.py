"""`cvd figures`: the report's charts as vector graphics that name the variants, the same bytes each time."""

import re
import shutil
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_project import VARIANTS, fill_workspace

from cvd import cli

CHARTS = ("curves", "overfitting", "differences", "reliability", "roc", "sizes")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    fill_workspace(root)
    (root / ".dvc").mkdir()
    return root


@pytest.fixture
def project(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(results)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return results


def cvd(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return int(ended.value.code or 0)


def read_pdf(path: Path) -> tuple[bytes, str]:
    """A PDF with its streams unpacked, and the text that these show: two bytes a letter, parted by kerning."""
    data = path.read_bytes()
    packed = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
    streams = b"".join(map(zlib.decompress, packed))
    lines = (b"".join(re.findall(rb"\(([^)]*)\)", line)) for line in re.findall(rb"\[(.*?)\]\s*TJ", streams, re.DOTALL))
    return data + streams, "\n".join(line.decode("latin-1").replace("\0", "") for line in lines)


def list_shown(name: str) -> list[str]:
    """The variants that a figure shows: two pairs of one network are left out of the differences."""
    if name.startswith("sheet-"):
        return [name.removeprefix("sheet-")]
    return ["baseline"] if name == "sizes" else [*VARIANTS] if name != "differences" else ["baseline", "transfer"]


def test_pdfs_are_vector_graphics_with_their_fonts(project: Path) -> None:
    assert cvd("figures", "--out", "papers/one") == 0
    figures = {path.stem: path for path in (project / "papers/one").iterdir()}
    assert set(figures) == {*CHARTS, *(f"sheet-{name}" for name in VARIANTS)}
    for name, path in figures.items():
        whole, text = read_pdf(path)
        assert whole.startswith(b"%PDF-")
        assert b"/FontFile2" in whole, "TrueType, embedded"
        assert b"/Type3" not in whole, "publishers refuse it"
        assert b"/Subtype /Image" not in whole, f"{name} has pixels"
        assert b"CreationDate" not in whole
        assert not [variant for variant in list_shown(name) if variant not in text], name


def test_svgs_are_the_same_each_time(project: Path) -> None:
    for folder in ("one", "two"):
        assert cvd("figures", "--format", "svg", "--out", folder) == 0
    assert len(list((project / "one").iterdir())) == len(CHARTS) + len(VARIANTS)
    for path in (project / "one").iterdir():
        assert path.read_bytes() == (project / "two" / path.name).read_bytes()
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "path" in tags
        assert not tags & {"image", "text"}, "outlines need no font"
        comments = re.findall("<!-- (.*?) -->", path.read_text())
        assert not [name for name in list_shown(path.stem) if not any(name in comment for comment in comments)]


def test_without_results_it_says_what_makes_them(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(project / ".dvc", tmp_path / ".dvc")
    monkeypatch.chdir(tmp_path)
    for out in (__file__, f"{__file__}/below"):
        assert cvd("figures", "--out", out) == 2
        assert f"--out is {out}, but {__file__} is a file: give a folder" in capsys.readouterr().err
    assert cvd("figures") == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert "comparison.json" in line
    assert not (tmp_path / "figures").exists()
