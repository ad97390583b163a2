"""Packing folders and tars that are not trusted into one plain zip, without extracting anything."""

import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO, Self

from cvd.data.archives.reading import (
    BROKEN,
    CHUNK_BYTES,
    MAX_MEMBER_BYTES,
    MAX_MEMBERS,
    MAX_NESTED_BYTES,
    clean_name,
    make_unique,
)
from cvd.runtime.errors import DISK_FULL, InputError, show_text

MAX_TAR_BYTES = 64 * 2**30  # unpacked; all of Kaggle's photos have 0.9 GB
_MAX_NOTE_BYTES = 2**20  # of a long name or pax header, which tarfile reads as a whole
_NOTES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


def pack_folder(folder: str | Path, path: str | Path, *, progress: Callable[[int], object] | None = None) -> int:
    """Pack a folder's files into a zip and count them. Stored, sorted and dated 1980, equal files give equal zips.

    A link counts as the file that it leads to where that lies in the folder. Other links, and links to folders, are
    noted but not followed. Of a file above MAX_MEMBER_BYTES, that and one byte more is taken.

    Raises:
        InputError: a file cannot be read, or there are more than MAX_MEMBERS.
    """
    folder = Path(folder)
    files = list(_walk(folder))
    names: set[str] = set()
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            name = make_unique(clean_name(file.relative_to(folder).as_posix()), names)
            try:
                status = _look_at(file, folder)
                with file.open("rb") if stat.S_ISREG(status.st_mode) else nullcontext() as source:
                    _store(archive, name, stat.S_IFMT(status.st_mode), source, status.st_size)
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise
                raise InputError(f"cannot read {file}: {error.strerror}") from error
            if progress:
                progress(1)
    return len(files)


def _look_at(file: Path, folder: Path) -> os.stat_result:
    """Look at a file, or at what a link leads to where that is a file in the folder."""
    status = file.lstat()
    if stat.S_ISLNK(status.st_mode):
        with suppress(OSError, RuntimeError):  # it leads nowhere, or in a circle
            target = file.resolve(strict=True)
            if target.is_file() and target.is_relative_to(folder.resolve()):
                return target.stat()
    return status


class _StrictHeader(tarfile.TarInfo):
    """A tar's header that refuses damage or a missing end, which tarfile takes for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {tar.offset:,}: it is damaged or cut off") from error

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _NOTES and header.size > _MAX_NOTE_BYTES:
            raise tarfile.ReadError(f"a name or note of {header.size:,} bytes")
        return header


def repack_tar(tar_path: str | Path, path: str | Path, *, progress: Callable[[int], object] | None = None) -> int:
    """Pack a tar's files (also .tar.gz, .bz2, .xz) into a zip in the tar's order, as `pack_folder` does; count them.

    Raises:
        InputError: damaged, or with more than MAX_MEMBERS members or MAX_TAR_BYTES.
    """
    n = n_headers = n_bytes = 0
    names: set[str] = set()
    try:
        with tarfile.open(tar_path, "r:*", tarinfo=_StrictHeader) as tar, zipfile.ZipFile(path, "w") as archive:
            for info in tar:
                tar.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header
                n_headers += 1
                n_bytes += info.size
                if n_headers > MAX_MEMBERS or n_bytes > MAX_TAR_BYTES:
                    raise InputError(f"{tar_path} has over {MAX_MEMBERS} members or 64 GiB: that is no set of photos")
                if info.isdir():
                    continue
                n += 1
                name = make_unique(clean_name(info.name), names)
                if info.isreg():
                    _store(archive, name, stat.S_IFREG, tar.extractfile(info), info.size)
                else:
                    _store(archive, name, stat.S_IFLNK if info.issym() or info.islnk() else stat.S_IFCHR, None, 0)
                if progress:
                    progress(1)
    except InputError:
        raise
    except (tarfile.TarError, *BROKEN) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        raise InputError(f"{tar_path} is not a readable tar archive: {show_text(str(error), 400)}") from error
    return n


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files and links below a folder, sorted; links to folders are not entered."""

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error

    n = 0
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted([*files, *links]):
            n += 1
            if n > MAX_MEMBERS:
                raise InputError(f"{folder} has more than {MAX_MEMBERS} files: that is no set of photos")
            yield Path(parent) / name


def _store(archive: zipfile.ZipFile, name: str, kind: int, source: IO[bytes] | None, n_bytes: int) -> None:
    limit = MAX_NESTED_BYTES if name.lower().endswith(".zip") else MAX_MEMBER_BYTES + 1
    info = zipfile.ZipInfo(name, _FIXED_DATE)
    info.external_attr = (kind | 0o644) << 16
    info.create_system = 3
    with archive.open(info, "w", force_zip64=min(n_bytes, limit) >= 2**31) as target:
        while source and limit > 0 and (chunk := source.read(min(CHUNK_BYTES, limit))):
            target.write(chunk)
            limit -= len(chunk)
