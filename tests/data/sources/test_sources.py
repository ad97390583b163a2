"""cvd.data.sources.registry and the stages download and split."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from photo_samples import make_jpeg, make_members, write_zip

from cvd.data.images.manifest import read_manifest
from cvd.data.intake import placement
from cvd.data.sources import origins
from cvd.data.sources.origins import Request
from cvd.data.sources.registry import Provenance, fetch_source
from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file

ROOT = Path(__file__).parents[3]
HEIC = b"\0\0\0\x18ftypheic" + bytes(52)


def fetch(source: str, path: Path, out: Path) -> Provenance:
    return fetch_source(source, Request(str(path), 10, 1), archive=out / "raw.zip", record=out / "raw.json")


def test_zip_is_copied(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", make_members(2))
    record = fetch("archive", path, tmp_path / "data")
    copy = tmp_path / "data" / "raw.zip"
    assert copy.read_bytes() == path.read_bytes()
    assert copy.stat().st_ino != path.stat().st_ino
    written = json.loads((tmp_path / "data" / "raw.json").read_text())
    assert written["sha256"] == record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (written["members"], written["bytes"]) == (4, path.stat().st_size)
    assert (written["source"], written["path"], written["url"]) == ("archive", str(path), None)
    assert (written["fetched_sha256"], written["fetched_bytes"]) == (record.sha256, record.bytes)
    assert written["redistributable"] is False
    assert written["fetched_at"].endswith("+00:00")
    assert "redistribution" in written["licence"]


def test_directory_and_tar(tmp_path: Path) -> None:
    for name, data in make_members(2).items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(data)
    with tarfile.open(tmp_path / "photos.tgz", "w:gz") as tar:
        tar.add(tmp_path / "photos", "photos")
    assert fetch("directory", tmp_path / "photos", tmp_path / "a").members == 4
    record = fetch("archive", tmp_path / "photos.tgz", tmp_path / "b")
    assert record.members == 4
    assert record.fetched_sha256 == hashlib.sha256((tmp_path / "photos.tgz").read_bytes()).hexdigest()
    assert record.sha256 == hashlib.sha256((tmp_path / "b" / "raw.zip").read_bytes()).hexdigest()


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    members = make_members(2)
    inner = write_zip(tmp_path / "train.zip", members)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for name, data in make_members(1).items():
            (tmp_path / "one.jpg").write_bytes(data)
            tar.add(tmp_path / "one.jpg", f"more/{name}")
        tar.add(inner, "train.zip")
    assert fetch("archive", tmp_path / "all.tar", tmp_path / "data").members == 6


def test_refused_sources_leave_nothing(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "good.zip", make_members(2))
    (tmp_path / "cut.zip").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "folder").mkdir()
    write_zip(tmp_path / "empty.zip", {})
    write_zip(tmp_path / "cats.zip", {"cat.1.jpg": make_jpeg(1)})
    write_zip(tmp_path / "birds.zip", {"bird.1.jpg": make_jpeg(1)})
    deep = write_zip(tmp_path / "3.zip", make_members(2)).read_bytes()
    deep = write_zip(tmp_path / "2.zip", {"inner.zip": deep}).read_bytes()
    write_zip(tmp_path / "deep.zip", {"middle.zip": deep})
    write_zip(tmp_path / "broken.zip", {"photos.zip": b"PK nothing"})
    write_zip(tmp_path / "notes.zip", {f"{word}.{i}.txt": b"a note" for word in ("cat", "dog") for i in range(3)})
    write_zip(tmp_path / "half.zip", {"cat.1.jpg": make_jpeg(1), "dog.1.txt": b"", "dog.2.heic": HEIC})
    (tmp_path / "data").mkdir()
    shutil.copy(whole, tmp_path / "data" / "raw.zip")
    cases = [
        ("archive", "missing.zip", "does not exist"),
        ("archive", "cut.zip", "is a damaged zip: its end is missing"),
        ("archive", "text.zip", "is neither a zip nor a tar"),
        ("archive", "folder", "use data.source=directory"),
        ("archive", "empty.zip", "is empty"),
        ("archive", "cats.zip", "holds only cats, no dogs by the names of its 1 files"),
        ("archive", "birds.zip", "holds neither cats nor dogs by the names of its 1 files"),
        ("archive", "deep.zip", "holds middle.zip/inner.zip, a zip inside a zip inside a zip.*: unpack it"),
        ("archive", "broken.zip", "holds photos.zip, which is damaged, .*: unpack it"),
        ("archive", "notes.zip", "no image of a cat that can be read among 3 files so named .cat.0.txt is .*JPEG, PNG"),
        ("archive", "half.zip", "no image of a dog that can be read among 2 files so named .dog.1.txt is empty"),
        ("archive", "data/raw.zip", "own output"),
        ("directory", "folder", "is empty"),
        ("directory", "good.zip", "use data.source=archive"),
    ]
    for source, name, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            fetch(source, tmp_path / name, tmp_path / "data")
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
        assert ".partial" not in str(caught.value)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw.zip"]


def test_an_odd_file_among_photos_is_no_matter(tmp_path: Path) -> None:
    members = {"cat.txt": b"a note", "dog.9.jpg": b"", "old.zip": b"PK nothing"} | make_members(2)
    assert fetch("archive", write_zip(tmp_path / "photos.zip", members), tmp_path / "data").members == 7


def test_drawing_that_breaks_off_keeps_the_old_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw.zip").write_bytes(b"old")
    seen: list[str] = []

    def break_off(images: Iterable[object], **bar: object) -> Iterator[object]:
        seen.extend(path.name for path in tmp_path.iterdir())
        yield next(iter(images))
        raise KeyboardInterrupt

    monkeypatch.setattr(origins, "tqdm", break_off)
    with pytest.raises(KeyboardInterrupt):
        fetch_source("drawn", Request("", 1, 1), archive=tmp_path / "raw.zip", record=tmp_path / "raw.json")
    assert sorted(seen) == [".raw.zip.partial", "raw.zip"]
    assert [path.name for path in tmp_path.iterdir()] == ["raw.zip"]
    assert (tmp_path / "raw.zip").read_bytes() == b"old"


def run_stage(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"stages.{name}", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


CORRECTIONS = "corrections.csv"
OUTPUTS = {
    "images": "data/images",
    "checksums": "data/images.sha256",
    "manifest": "data/manifest.csv",
    "quarantine": "data/quarantine.csv",
    "masks": "data/masks.zip",
    "summary": "metrics/data.json",
    "sheets": "plots/data",
}
SIZES = {"classes": ("cat", "dog"), "train": None, "validation": 2, "test": 3, "seed": 1}
SPLIT = ["--archive", "data/raw.zip", "--corrections", CORRECTIONS]
SPLIT += (part for name, path in OUTPUTS.items() for part in (f"--{name}", path))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with params for a small archive."""
    (tmp_path / ".dvc").mkdir()
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"]["source"] = "archive"
    params["split"].update(train=None, validation=2, test=3)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    write_zip(tmp_path / "photos.zip", make_members(10) | {"notes.txt": b"x"})
    shutil.copy(ROOT / "data/corrections.csv", tmp_path / CORRECTIONS)
    return tmp_path


def test_stages(project: Path) -> None:
    downloaded = run_stage(
        "download", project, "--source-path", "photos.zip", "--archive", "data/raw.zip", "--record", "data/raw.json"
    )
    assert downloaded.returncode == 0, downloaded.stderr
    (project / "data" / "raw.json").unlink()  # split must not need it
    done = run_stage("split", project, *SPLIT)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(project / "data" / "manifest.csv")
    assert manifest["split"].value_counts().to_dict() == {"train": 10, "validation": 4, "test": 6}
    images = project / "data" / "images"
    hashes = {str(file.relative_to(images)): hash_file(file) for file in images.rglob("*.jpg")}
    lines = (project / "data" / "images.sha256").read_text().splitlines()
    assert {path: digest for digest, path in (line.split("  ") for line in lines)} == hashes
    summary = json.loads((project / "metrics" / "data.json").read_text())
    assert summary["reasons"] == {"not_an_image": 1}
    assert summary["members"] == summary["images"] + summary["quarantined"] == 21
    assert sorted(path.name for path in (project / "plots" / "data").iterdir()) == [
        f"{split}_{name}.png" for split in ("test", "train", "validation") for name in ("cat", "dog")
    ]


def test_bad_input_is_one_line_and_leaves_nothing(project: Path) -> None:
    (project / "data").mkdir()
    write_zip(project / "data" / "raw.zip", make_members(4))
    done = run_stage("split", project, *SPLIT)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: cat has 4 usable images, but split asks for")
    assert "Traceback" not in done.stderr
    assert [path.name for path in (project / "data").iterdir()] == ["raw.zip"]


def test_split_that_breaks_off_leaves_all_of_the_old(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(project / "raw.zip", make_members(10))
    monkeypatch.chdir(project)
    paths = {name: Path(path) for name, path in OUTPUTS.items()} | {"corrections": Path(CORRECTIONS)}
    placement.split_archive(Path("raw.zip"), **paths, **SIZES)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}

    def break_off(*arguments: object) -> None:
        raise KeyboardInterrupt

    write_zip(project / "raw.zip", make_members(12))
    before[project / "raw.zip"] = (project / "raw.zip").read_bytes()
    # The last of the work: all of the new is there, and none of it in place.
    monkeypatch.setattr(placement, "write_sheets", break_off)
    with pytest.raises(KeyboardInterrupt):
        placement.split_archive(Path("raw.zip"), **paths, **SIZES)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_split_publishes_the_images_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(project / "raw.zip", make_members(10))
    monkeypatch.chdir(project)
    order: list[str] = []
    replace = Path.replace

    def note(path: Path, target: Path) -> Path:
        if not target.name.startswith("."):
            order.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", note)
    paths = {name: Path(path) for name, path in OUTPUTS.items()} | {"corrections": Path(CORRECTIONS)}
    placement.split_archive(Path("raw.zip"), **paths, **SIZES)
    assert order == ["images", "images.sha256", "masks.zip", "data", "quarantine.csv", "manifest.csv", "data.json"]
