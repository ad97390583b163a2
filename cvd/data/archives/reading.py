"""Untrusted zips: members are read into memory up to a limit, and never extracted under their own names."""

import lzma
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cvd.runtime.errors import InputError, disarm_cell, show_text

MAX_MEMBER_BYTES = 32 * 2**20  # of an image; the largest of the 25,000 photos has 0.2 MB
MAX_NESTED_BYTES = 8 * 2**30  # of a zip inside the archive; Kaggle's train.zip has 0.6 GB
MAX_NESTED = 100  # zips inside the archive; each takes a file handle
MAX_MEMBERS = 200_000
MAX_DIRECTORY_BYTES = 32 * 2**20  # of a zip's table of contents, which is read as a whole
MAX_RATIO = 50  # of a zip inside the archive, unpacked to packed; photos give 1, bombs 1,000
CHUNK_BYTES = 2**20
# What Python's zip and decompression code raises on damaged input.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)


class UnreadableError(Exception):
    """The archive cannot give a member's bytes."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    # Unique; odd characters are escapes, an apostrophe stands before = + - @; of an inner zip `train.zip/cat.0.jpg`.
    name: str
    n_bytes: int  # as declared
    unsafe: str  # why it must not be read, or ""
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def read(self, limit: int) -> bytes:
        """Read at most `limit` bytes from its start, whatever it declares.

        Raises:
            UnreadableError: damaged, encrypted, or compressed in an unknown way.
        """
        if self.info.flag_bits & 1:
            raise UnreadableError("encrypted")
        try:
            with self.archive.open(self.info) as file:
                return file.read(limit)
        except BROKEN as error:
            raise UnreadableError(show_text(str(error)) or type(error).__name__) from error


@contextmanager
def open_archive(path: str | Path) -> Iterator[list[Member]]:
    """Open a zip and yield its files in order, also those of zips directly inside it, readable in the context.

    Raises:
        InputError: no zip, damaged, encrypted, or with more than MAX_MEMBERS members or MAX_NESTED zips.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        try:
            _check_directory_size(file)
            archive = stack.enter_context(zipfile.ZipFile(file))
        except BROKEN as error:
            raise InputError(f"{path} is not a readable zip archive: {show_text(str(error))}") from error
        members: list[Member] = []
        names: set[str] = set()
        spent = n_nested = 0
        for info in archive.infolist():
            _check_encryption(info, path)
            if not _is_folder(info):
                nested = None if spent > MAX_NESTED_BYTES else _open_nested(info, archive, stack, path)
                if nested is None:
                    members.append(_describe(info, archive, "", names))
                else:
                    spent += info.file_size
                    n_nested += 1
                    if n_nested > MAX_NESTED:
                        raise InputError(f"{path} holds more than {MAX_NESTED} zips: unpack them and give the folder")
                    prefix = f"{clean_name(info.filename)}/"
                    inner = (entry for entry in nested.infolist() if not _is_folder(entry))
                    members += [_describe(entry, nested, prefix, names) for entry in inner]
            if len(members) > MAX_MEMBERS:
                raise InputError(f"{path} has more than {MAX_MEMBERS} members: that is no set of photos")
        yield members


def _check_encryption(info: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an encrypted archive; an encrypted member of a zip inside it is only unreadable."""
    if info.flag_bits & 1:
        name = clean_name(info.filename)
        raise InputError(f"{path} is encrypted (member {name!r}): unpack it with its password and give the folder")


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(("/", "\\")) and not info.file_size


def _describe(info: zipfile.ZipInfo, archive: zipfile.ZipFile, prefix: str, names: set[str]) -> Member:
    raw = info.filename.replace("\\", "/")
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
    if kind == stat.S_IFLNK:
        unsafe = "a link"
    elif kind not in (0, stat.S_IFREG):
        unsafe = "a device, pipe or folder"
    elif raw.startswith("/") or raw[1:2] == ":" or ".." in raw.split("/"):
        unsafe = "its name leads out of the archive"
    else:
        unsafe = ""
    return Member(make_unique(disarm_cell(prefix + clean_name(raw)), names), info.file_size, unsafe, archive, info)


def clean_name(name: str) -> str:
    """Write control characters and undecodable bytes of a name as escapes, so that it fits on a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def make_unique(name: str, names: set[str]) -> str:
    """Return the name, with #2, #3... behind it where it is taken, and add it to `names`."""
    unique, n = name, 1
    while unique in names:
        n += 1
        unique = f"{name}#{n}"
    names.add(unique)
    return unique


def _open_nested(
    info: zipfile.ZipInfo, archive: zipfile.ZipFile, stack: ExitStack, path: Path
) -> zipfile.ZipFile | None:
    """Open a zip inside the zip; None for a member that is no zip, is damaged, or is a bomb."""
    size = info.file_size
    if not info.filename.lower().endswith(".zip") or _describe(info, archive, "", set()).unsafe:
        return None
    if info.flag_bits & 1 or size > min(MAX_NESTED_BYTES, MAX_RATIO * max(1, info.compress_size)):
        return None
    try:
        # Without a name: gone with the process. Beside the archive there is room, unless its folder is read-only.
        folder = path.parent if os.access(path.parent, os.W_OK) else None
        file = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
        with archive.open(info) as source:
            while chunk := source.read(CHUNK_BYTES):  # ends at the declared size, whatever the actual one
                file.write(chunk)
        _check_directory_size(file)
        return stack.enter_context(zipfile.ZipFile(file))
    except BROKEN:
        return None


def _check_directory_size(file: IO[bytes]) -> None:
    """Refuse a table of contents above MAX_DIRECTORY_BYTES (BadZipFile) before zipfile reads it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 66_000))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    declared = [int.from_bytes(tail[end + 12 : end + 16], "little")] if end >= 0 else []
    end64 = tail.rfind(b"PK\x06\x06")
    if declared == [2**32 - 1] and end64 >= 0:
        declared = [int.from_bytes(tail[end64 + 40 : end64 + 48], "little")]
    if declared and declared[0] > MAX_DIRECTORY_BYTES:
        raise zipfile.BadZipFile(
            f"its table of contents has {declared[0]:,} bytes, more than {MAX_MEMBERS:,} members need"
        )
    file.seek(0)
