"""Power cuts: after any prefix of the system calls, a disk that forgets what was not flushed holds the old or the new.

The calls of `replace_file` and `replace_folder` are recorded. The model of the disk is strict: bytes are there after an
fsync of their file. A changed name may be there at once, and surely is after an fsync of its folder.
"""

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from cvd.runtime import files
from cvd.runtime.files import remove_path, replace_file, replace_folder

Call = tuple[str, Path, Path | None]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls that matter, in order, as they are made: flush, rename, remove, sync."""
    made: list[Call] = []
    flush, rename, remove, sync = files.flush, Path.replace, remove_path, os.sync

    def note(name: str, path: Path, target: Path | None = None) -> None:
        made.append((name, path, target))

    monkeypatch.setattr(files, "flush", lambda path: (note("flush", path), flush(path)))
    monkeypatch.setattr(Path, "replace", lambda path, to: (note("rename", path, to), rename(path, to))[1])
    monkeypatch.setattr(files, "remove_path", lambda path: (path.exists() and note("remove", path), remove(path)))
    monkeypatch.setattr(os, "sync", lambda: (note("sync", Path("/")), sync()))
    return made


def list_disks(calls: list[Call], start: dict[Path, str], flushed: set[Path]) -> Iterator[dict[Path, str]]:
    """What the disk may hold after each prefix: path -> `old`, `new`, or `lost` where bytes were never flushed."""
    for n in range(len(calls) + 1):
        pending: list[list[Call]] = [[]]  # changes of names since the last flush of their folder
        durable = dict(start)
        on_disk = set(flushed)
        for call in calls[:n]:
            name, path, _ = call
            if name == "sync" or (name == "flush" and path.is_dir() and path in {p.parent for p in start}):
                on_disk |= set(start) if name == "sync" else set()
                durable = apply(durable, pending[0])
                pending[0] = []
            elif name == "flush":
                on_disk.add(path)
            else:
                pending[0].append(call)
        for keep in product((False, True), repeat=len(pending[0])):
            if sorted(keep, reverse=True) == list(keep):  # a journal keeps their order
                disk = apply(durable, [call for call, is_kept in zip(pending[0], keep, strict=True) if is_kept])
                yield {path: "lost" if what == "new" and not on_disk & NEW[0] else what for path, what in disk.items()}


NEW: list[set[Path]] = [set()]  # the temporary path: its bytes are those that must be flushed


def apply(disk: dict[Path, str], changes: list[Call]) -> dict[Path, str]:
    disk = dict(disk)
    for name, path, target in changes:
        what = disk.pop(path, None)
        if name == "rename" and target is not None and what is not None:
            disk[target] = what
    return disk


@pytest.mark.parametrize("had_one", [True, False])
def test_a_file_is_old_or_new_after_any_cut(tmp_path: Path, calls: list[Call], had_one: bool) -> None:
    target, partial = tmp_path / "out", tmp_path / ".out.partial"
    if had_one:
        target.write_text("old")
    with replace_file(target) as path:
        path.write_text("new")
    NEW[0] = {partial}
    start = {partial: "new"} | ({target: "old"} if had_one else {})
    disks = list(list_disks(calls, start, set()))
    assert {disk.get(target) for disk in disks} == ({"old", "new"} if had_one else {None, "new"})
    assert disks[-1][target] == "new"
    assert calls[-1][:2] == ("flush", tmp_path)


@pytest.mark.parametrize("n_files", [3, 200])
def test_a_folder_is_never_half(tmp_path: Path, calls: list[Call], n_files: int) -> None:
    target, partial, old = tmp_path / "out", tmp_path / ".out.partial", tmp_path / ".out.old.partial"
    target.mkdir()
    with replace_folder(target) as folder:
        for n in range(n_files):
            (folder / f"{n}").write_text("new")
    flushed = {path for name, path, _ in calls if name == "flush"}
    is_whole = {partial / f"{n}" for n in range(n_files)} <= flushed
    assert is_whole or ("sync", Path("/"), None) in calls
    assert sum(name == "flush" for name, _, _ in calls) < 10, "thousands of flushes take minutes"
    first = next(n for n, (name, _, _) in enumerate(calls) if name == "rename")
    assert {name for name, _, _ in calls[:first]} <= {"flush", "sync"}, "all bytes first"
    NEW[0] = {partial}
    for disk in list_disks(calls[first:], {partial: "new", target: "old"}, {partial}):
        assert "old" in disk.values() or disk.get(target) == "new"
        assert "lost" not in disk.values()
    assert old not in disk


def test_without_the_flush_a_file_is_lost(tmp_path: Path, calls: list[Call]) -> None:
    """The model would see it."""
    with replace_file(tmp_path / "out", outlasts_power=False) as path:
        path.write_text("new")
    NEW[0] = {tmp_path / ".out.partial"}
    found = {disk.get(tmp_path / "out") for disk in list_disks(calls, {tmp_path / ".out.partial": "new"}, set())}
    assert "lost" in found
