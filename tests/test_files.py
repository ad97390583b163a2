"""Outputs appear whole or not at all."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json, replace_file, replace_folder, write_json


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "made" / "out.txt"
    with replace_file(target) as partial:
        partial.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replace_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("replace", [replace_file, replace_folder])
def test_a_full_disk_is_placed(tmp_path: Path, replace: Callable[[Path], AbstractContextManager[Path]]) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught, replace(tmp_path / "out"):
        Path("/dev/full").write_text("half")  # Linux's disk that is always full
    assert caught.value.filename == str(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    with replace_folder(target) as partial:
        (partial / "new").touch()
        assert (target / "old").exists()
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    replace = Path.replace

    def interrupt(path: Path, to: Path) -> Path:
        if path.name == ".out.partial":
            raise KeyboardInterrupt
        return replace(path, to)

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt), replace_folder(target) as partial:
        (partial / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "half").touch()
    with replace_folder(tmp_path / "out") as partial:
        assert not list(partial.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_json_is_written_whole_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "made/a.json"
    write_json({"a": [1, 0.1]}, path)
    assert path.read_text().endswith("]\n}\n")
    assert read_json(path) == {"a": [1, 0.1]}


@pytest.mark.parametrize(("content", "said"), [(None, "is not there"), (b"{", "is damaged"), (b"\xff", "is damaged")])
def test_json_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path} {said}")
    assert "\n" not in str(caught.value)
