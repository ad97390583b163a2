"""Repairs of DVC 3.67.1: what it writes in place, it writes whole; what a kill left unfinished, it passes over.

- `.dvc/tmp/rwlock` is rewritten in place: killed there, every later command says `Unable to read RWLock-file`.
- `dvc.lock` and `dvc.yaml` are rewritten in place.
- The run cache's newest entry may be a folder without a file (`join() argument must be str`), or half a file.
"""

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from cvd.runtime.bookkeeping.processes import describe_process, find_dvc_processes, has_started_since
from cvd.runtime.files import replace_file

KNOWN_VERSIONS = ("3.67.1",)  # of DVC, whose code was read for this. Another one is left as it is.
ENTRY = re.compile(r"[0-9a-f]{64}")  # the name of a run cache's finished entry


def repair_module(module: ModuleType) -> None:
    """Repair one of DVC's modules, just loaded, where the version is known."""
    if sys.modules["dvc"].__version__ in KNOWN_VERSIONS:
        _REPAIRS[module.__name__](module)


class WholeFiles:
    """A file system of DVC's whose files appear whole; what is not opened is its own."""

    outlasts_power = True

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    @contextmanager
    def open(self, path: str, mode: str = "r", **options: Any) -> Iterator[Any]:
        """Open a file; one that is written takes the place of the old one when it is closed."""
        if "w" not in mode:
            with self._fs.open(path, mode, **options) as file:
                yield file
            return
        target = Path(path).resolve()  # of a link, the file
        with replace_file(target, outlasts_power=self.outlasts_power) as partial, partial.open(mode, **options) as file:
            if target.exists():
                partial.chmod(target.stat().st_mode & 0o7777)
            yield file


class WholeLocks(WholeFiles):
    """The same for `rwlock`. A damaged one is as good as none: its guard is held, so nobody is writing it."""

    outlasts_power = False  # DVC writes it four times a stage; after a power cut no process holds a lock

    @contextmanager
    def open(self, path: str, mode: str = "r", **options: Any) -> Iterator[Any]:
        """Open the table of locks; reading gives those of processes that still run."""
        if mode == "r":
            yield io.StringIO(json.dumps(read_locks(Path(path))))
            return
        with super().open(path, mode, **options) as file:
            yield file


def read_locks(path: Path) -> dict[str, Any]:
    """Read DVC's table of locks, without those of a process whose number another one has now.

    Raises:
        FileNotFoundError: there is none, or it is damaged and no other DVC runs here.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        table = parse_locks(text)
        since = path.stat().st_mtime

        def is_held(entry: dict[str, Any]) -> bool:
            return not has_started_since(int(entry["pid"]), since)

        readers = {name: [entry for entry in entries if is_held(entry)] for name, entries in table["read"].items()}
        return {
            "write": {name: entry for name, entry in table["write"].items() if is_held(entry)},
            "read": {name: entries for name, entries in readers.items() if entries},
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        root = path.parent.parent.parent
        if others := find_dvc_processes(root):
            print(
                f"{path} is damaged, and {describe_process(others[0])} runs here: wait for it to end", file=sys.stderr
            )
            return {"damaged": True}  # DVC refuses it
        raise FileNotFoundError(str(path)) from None


def parse_locks(text: str) -> dict[str, Any]:
    """Parse a table of locks, both of its parts: DVC leaves out what is empty.

    Raises:
        ValueError, TypeError: it is damaged.
    """
    return {"write": {}, "read": {}, **json.loads(text)}


def _repair_locks(module: ModuleType) -> None:
    edit: Callable[..., Any] = module._edit_rwlock

    @wraps(edit)
    def edit_whole(lock_dir: str, fs: Any, hardlink: bool) -> Any:
        return edit(lock_dir, WholeLocks(fs), hardlink)

    module._edit_rwlock = edit_whole  # type: ignore[attr-defined]


def _repair_dumps(module: ModuleType) -> None:
    dump: Callable[..., Any] = module._dump_data

    @wraps(dump)
    def dump_whole(path: Any, data: Any, dumper: Any, fs: Any = None, **options: Any) -> Any:
        is_local = fs is None or getattr(fs, "protocol", "") == "local"
        return dump(os.fspath(path), data, dumper, WholeFiles(fs) if is_local else fs, **options)

    module._dump_data = dump_whole  # type: ignore[attr-defined]


def _repair_run_cache(module: ModuleType) -> None:
    def load_newest(self: Any, stage: Any) -> Any:
        """Load the newest of a stage's entries that is whole; None where there is none."""
        key = module._get_stage_hash(stage)
        if not key:  # a stage that depends on nothing, or has no outputs, is in no cache
            return None
        folder = Path(self._get_cache_dir(key))
        entries = [path for path in folder.iterdir() if ENTRY.fullmatch(path.name)] if folder.is_dir() else []
        entries.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
        return next(filter(None, (self._load_cache(key, entry.name) for entry in entries)), None)

    module.StageCache._load = load_newest


_REPAIRS: dict[str, Callable[[ModuleType], None]] = {
    "dvc.rwlock": _repair_locks,
    "dvc.stage.cache": _repair_run_cache,
    "dvc.utils.serialize._common": _repair_dumps,
}
