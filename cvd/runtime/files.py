"""Files and folders that appear whole or not at all, and what they hash to."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvd.runtime.errors import DISK_FULL


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it takes the place of `path`, else it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    _remove(partial)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        _name_place(error, path)
        raise
    finally:
        _remove(partial)


def _name_place(error: OSError, path: Path) -> None:
    """A write to a full disk fails without saying where."""
    if error.filename is None and error.errno in DISK_FULL:
        error.filename = str(path)


@contextmanager
def replace_folder(path: str | Path) -> Iterator[Path]:
    """Like `replace_file`, for a folder, which is created empty; an existing one stays until the new one is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _partial(path), path.with_name(f".{path.name}.old.partial")
    _remove(partial)
    _remove(old)
    partial.mkdir()
    try:
        yield partial
        if path.exists() or path.is_symlink():
            path.replace(old)
        partial.replace(path)
    except OSError as error:
        _name_place(error, path)
        raise
    finally:
        if not path.exists() and old.exists():
            old.replace(path)
        _remove(partial)
        _remove(old)


def hash_file(path: str | Path, algorithm: str = "sha256") -> str:
    """A file's digest in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
