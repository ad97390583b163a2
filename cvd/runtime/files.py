"""Files and folders that appear whole or not at all, what they hash to, and JSON and YAML read."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cvd.runtime.errors import DISK_FULL, InputError

_NUMERIC = "-+.0123456789"  # what a number begins with
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$")
_FEW = 50  # files

if TYPE_CHECKING:
    _Safe = yaml.SafeLoader
else:
    _Safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml takes a tenth of the time


class YamlLoader(_Safe):
    """Reads 1e-4 as a number, as YAML 1.2 and DVC do; PyYAML's YAML 1.1 asks for a point and a sign."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own
        first: [
            *_Safe.yaml_implicit_resolvers.get(first, []),
            *[("tag:yaml.org,2002:float", _FLOAT)] * (str(first) in _NUMERIC),
        ]
        for first in {*_Safe.yaml_implicit_resolvers, *_NUMERIC}
    }


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def remove_path(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the disk keep a file's bytes, or a folder's names, also when the power goes off now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # a few file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)


def _flush_all(folder: Path) -> None:
    """Flush a folder with all that it holds: many files by one call, which costs as much as a few of them."""
    paths = sorted(folder.rglob("*"), reverse=True)
    if len(paths) > _FEW and sys.platform == "linux":  # elsewhere, `sync` does not wait for the disk
        os.sync()
        return
    for path in paths:
        if not path.is_symlink():
            flush(path)
    flush(folder)


@contextmanager
def replace_file(path: str | Path, *, outlasts_power: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, else it is removed.

    Without `outlasts_power`, a power cut may leave it empty, and nothing waits for the disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    remove_path(partial)
    try:
        yield partial
        if outlasts_power:
            flush(partial)
        partial.replace(path)
        if outlasts_power:
            flush(path.parent)
    except OSError as error:
        _name_place(error, path)
        raise
    finally:
        remove_path(partial)


def _name_place(error: OSError, path: Path) -> None:
    """Name the file in an error of a full disk, which says nothing of where it was."""
    if error.filename is None and error.errno in DISK_FULL:
        error.filename = str(path)


@contextmanager
def replace_folder(path: str | Path) -> Iterator[Path]:
    """Like `replace_file`, for a folder, which is created empty; an existing one stays until the new one is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _partial(path), path.with_name(f".{path.name}.old.partial")
    remove_path(partial)
    remove_path(old)
    partial.mkdir()
    try:
        yield partial
        _flush_all(partial)
        if path.exists() or path.is_symlink():
            path.replace(old)
        partial.replace(path)
        flush(path.parent)  # before the old one is removed
    except OSError as error:
        _name_place(error, path)
        raise
    finally:
        if not path.exists() and old.exists():
            old.replace(path)
        remove_path(partial)
        remove_path(old)


def hash_file(path: str | Path, algorithm: str = "sha256") -> str:
    """A file's digest in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def digest_files(paths: Iterable[Path], pattern: str = "*") -> str:
    """Compute sha256, in hex, of names and contents of files, and of the files in folders that match `pattern`."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob(pattern)) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{file.relative_to(path.parent).as_posix()} {hash_file(file)}\n".encode())
    return digest.hexdigest()


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it is missing, or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is not there: run `dvc repro` or `dvc pull`") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): run `dvc checkout`, or `dvc repro` to make it again") from error


def render_json(value: Any, *, indent: int = 2) -> str:
    """Render a value as indented JSON, keys in their order, floats to the last digit; NaN and infinity raise."""
    return json.dumps(value, indent=indent, allow_nan=False) + "\n"


def write_json(value: Any, path: str | Path, *, indent: int = 2) -> None:
    """Write a value as JSON, whole or not at all."""
    with replace_file(path) as partial:
        partial.write_text(render_json(value, indent=indent), encoding="utf-8")
