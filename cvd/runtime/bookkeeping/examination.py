"""What a kill can leave behind in a project, and its mending: DVC's notes, git's locks, unfinished files."""

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

from cvd.runtime.bookkeeping.loading import is_watching
from cvd.runtime.bookkeeping.repairs import ENTRY, KNOWN_VERSIONS, parse_locks
from cvd.runtime.files import YamlLoader, remove_path, replace_file
from cvd.runtime.locks import try_lock
from cvd.runtime.project import ask_git

START = Path(__file__).with_name("cvd.pth")
_QUIET_SECONDS = 60  # a file that nobody has written for so long is no longer being written
_SKIPPED = {".git", ".venv", ".cvd", "cache", "node_modules", "__pycache__", "mlartifacts"}


class Finding(NamedTuple):
    """Something that was wrong."""

    text: str  # what it was, and what was done about it
    is_mended: bool = True


def mend_project(root: Path) -> Iterator[Finding]:
    """Find and mend what kills have left in a project; no DVC may run in it."""
    yield from _mend_locks(root / ".dvc/tmp/rwlock")
    yield from _mend_run_cache(find_cache(root) / "runs")
    yield from _mend_lock_file(root)
    yield from _mend_git(root)
    yield from _mend_partials(root)
    yield from _mend_environment()
    yield from _find_orphans(root)


def find_cache(root: Path) -> Path:
    """Ask DVC for the folder of its cache."""
    with suppress(OSError, subprocess.SubprocessError):
        command = [sys.executable, "-m", "dvc", "cache", "dir"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120)
        return root / done.stdout.strip()
    return root / ".dvc/cache"


def _mend_locks(path: Path) -> Iterator[Finding]:
    """Remove DVC's table of locks where it is damaged, or names processes that are gone: no DVC runs."""
    with suppress(FileNotFoundError):
        try:
            table = parse_locks(path.read_text(encoding="utf-8"))
            entries = [*table["write"].values(), *(entry for group in table["read"].values() for entry in group)]
        except (ValueError, TypeError, KeyError, AttributeError):
            path.unlink()
            yield Finding(f"{path}: a killed DVC left it damaged; removed")
            return
        if entries:
            path.unlink()
            yield Finding(f"{path}: it held {len(entries)} locks of processes that are gone; removed")


def _mend_run_cache(runs: Path) -> Iterator[Finding]:
    for folder in sorted(runs.glob("*/*")):
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        unfinished = [name for name in names if not ENTRY.fullmatch(name)]
        for name in unfinished:
            remove_path(folder / name)
        if folder.is_dir() and len(unfinished) == len(names):
            folder.rmdir()
            yield Finding(f"{folder}: a run that was never noted down; removed")
        elif unfinished:
            yield Finding(f"{folder}: {len(unfinished)} unfinished entries removed")


def _mend_lock_file(root: Path) -> Iterator[Finding]:
    """Bring back the committed dvc.lock in place of a damaged one, which is set aside."""
    path = root / "dvc.lock"
    if not path.exists():
        return
    with suppress(ValueError, yaml.YAMLError, AttributeError):
        if yaml.load(path.read_text(encoding="utf-8"), YamlLoader).get("stages") is not None:
            return
    aside = root / f".cvd/damaged/dvc.lock-{int(time.time())}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    path.replace(aside)
    committed = ask_git("show", "HEAD:./dvc.lock", root=root)
    if committed:
        with replace_file(path) as partial:
            partial.write_text(committed + "\n", encoding="utf-8")
    how = "the committed one is back" if committed else "removed"
    yield Finding(f"{path}: damaged, kept as {aside}; {how}, `dvc repro` takes what is known from its cache")


def _mend_git(root: Path) -> Iterator[Finding]:
    """Remove locks that a killed git left: no git runs in the repository, and they are a minute old."""
    folder = Path(ask_git("rev-parse", "--absolute-git-dir", root=root) or root / ".git")
    if not folder.is_dir() or _has_git(root):
        return
    for path in [*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock")]:
        if time.time() - path.stat().st_mtime > _QUIET_SECONDS:
            path.unlink()
            yield Finding(f"{path}: a killed git left it; removed")
        else:
            yield Finding(f"{path}: written just now; run `cvd doctor` again in a minute", is_mended=False)


def _has_git(root: Path) -> bool:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name().startswith("git") and Path(process.cwd()).is_relative_to(root):
                return True
    return False


def _mend_partials(root: Path) -> Iterator[Finding]:
    """Remove files and folders that were being written, where no process holds a stage's lock."""
    if list(_list_held(root)):
        return
    for parent, folders, files in os.walk(root):
        names = [name for name in (*folders, *files) if name.startswith(".") and name.endswith(".partial")]
        for name in names:
            remove_path(Path(parent, name))
            yield Finding(f"{Path(parent, name)}: never finished; removed")
        folders[:] = [name for name in folders if name not in {*_SKIPPED, *names}]


def _list_held(root: Path) -> Iterator[tuple[str, int]]:
    """List stages that a process holds: name of the lock, number of the process."""
    for path in sorted((root / ".cvd/locks").glob("*.lock")):
        with try_lock(path) as is_free, suppress(OSError, ValueError):
            if not is_free:
                yield path.stem, int(path.read_text())


def _find_orphans(root: Path) -> Iterator[Finding]:
    for stage, pid in _list_held(root):
        yield Finding(
            f"stage {stage} still runs as process {pid}, without a DVC: wait for it to end, or `kill {pid}`", False
        )


def _mend_environment() -> Iterator[Finding]:
    """Put the repair of DVC into this environment, where it is not."""
    installed = version("dvc")
    if installed not in KNOWN_VERSIONS:
        known = ", ".join(KNOWN_VERSIONS)
        yield Finding(f"DVC is {installed}, and the repair knows {known} only: kills can damage its notes", False)
    elif not is_watching():
        target = Path(sysconfig.get_path("purelib"), START.name)
        try:
            target.write_bytes(START.read_bytes())
            yield Finding(f"{target}: the repair of DVC {installed} was not in this environment; put there")
        except OSError as error:
            yield Finding(f"{target}: the repair of DVC {installed} cannot be put there ({error.strerror})", False)
