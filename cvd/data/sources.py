"""Where images come from. Each source becomes one zip, data/raw.zip, and a record of what it is, data/raw.json."""

import hashlib
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cvd.data import archives, layouts, packing
from cvd.data.archives import Member, UnreadableError
from cvd.data.formats import RefusedError, find_format
from cvd.data.manifest import LABELS
from cvd.errors import InputError
from cvd.files import replace_file

_OWN = "the project's own: drawn by its code"
_UNKNOWN = "unknown: treat as not for redistribution, keep off public remotes"


@dataclass(frozen=True)
class Request:
    """What is asked of a source: `path` as the user gave it; `n_per_class` and `seed` of drawn images."""

    path: str
    n_per_class: int
    seed: int


@dataclass(frozen=True)
class Record:
    """data/raw.json. `sha256` and `bytes` are those of data/raw.zip; `fetched_at` is UTC, ISO 8601."""

    source: str
    path: str | None
    sha256: str
    bytes: int
    members: int
    fetched_at: str
    licence: str


def fetch_source(source: str, request: Request, *, archive: str | Path, record: str | Path) -> Record:
    """Brings a source's images into one zip, whole or not at all, and writes the record.

    Args:
        source: a key of SOURCES.
        request: what of it.
        archive: the zip to write.
        record: the JSON file to write.

    Raises:
        InputError: the source is missing, damaged, encrypted, empty, or holds no cat or no dog by its names.
    """
    fetch, licence = SOURCES[source]
    with replace_file(archive) as partial:
        fetch(request, partial)
        n_members = check_labels(partial, request.path if source != "drawn" else "the drawn archive")
        sha256 = hash_file(partial)
        written = Record(
            source=source,
            path=None if source == "drawn" else request.path,
            sha256=sha256,
            bytes=partial.stat().st_size,
            members=n_members,
            fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
            licence=licence,
        )
    with replace_file(record) as partial:
        partial.write_text(json.dumps(asdict(written), indent=2) + "\n", encoding="utf-8")
    return written


def check_labels(archive: str | Path, name: str) -> int:
    """Counts an archive's members, and refuses it where it promises no cat or no dog: by names, then by first bytes.

    Args:
        archive: a zip.
        name: what to call it in a message.

    Raises:
        InputError: it is unreadable, empty, of one class only, or a class has no image that can be read.
    """
    try:
        with archives.open_archive(archive) as members:
            if not members:
                raise InputError(f"{archive} is empty: it holds no files at all")
            wanted = [each for each in members if not layouts.is_junk(each.name)]
            labels = [layouts.find_label(member.name).label for member in wanted]
            _check_names(labels, wanted, archive)
            for label in range(len(LABELS)):
                labelled = [member for member, own in zip(wanted, labels, strict=True) if own == label]
                _check_first_bytes(labelled, LABELS[label], archive)
            return len(members)
    except InputError as error:
        raise InputError(str(error).replace(str(archive), f"data.path {name}")) from error


def _check_names(labels: Sequence[int | None], members: Sequence[Member], archive: str | Path) -> None:
    missing = [label for label in range(len(LABELS)) if label not in labels]
    if not missing:
        return
    for member in members:
        if member.name.lower().endswith(".zip"):
            raise InputError(f"{archive} holds {member.name}, {_explain_closed_zip(member)}")
    found = "neither cats nor dogs" if len(missing) > 1 else f"only {LABELS[1 - missing[0]]}s, no {LABELS[missing[0]]}s"
    raise InputError(
        f"{archive} holds {found} by the names of its {len(members)} files: "
        "give files named cat.N.jpg and dog.N.jpg, or folders named cat and dog"
    )


def _explain_closed_zip(member: Member) -> str:
    if ".zip/" in member.name.lower():
        return "a zip inside a zip inside a zip, which is not opened: unpack it and give the folder or the inner zip"
    return "which is damaged, encrypted or packed far too densely for photos: unpack it and give the folder"


def _check_first_bytes(members: Sequence[Member], word: str, archive: str | Path) -> None:
    """Looks for one image, and so reads no further than to the first."""
    refusals = []
    for member in members:
        try:
            find_format(member.read(64))
        except (RefusedError, UnreadableError) as refusal:
            refusals.append(f"{member.name} is {refusal}" if isinstance(refusal, RefusedError) else str(refusal))
        else:
            return
    raise InputError(
        f"{archive} holds no image of a {word} that can be read among {len(members)} files so named "
        f"({refusals[0]}): give JPEG, PNG, GIF, BMP, WebP or TIFF images"
    )


def hash_file(path: str | Path) -> str:
    """The sha256 of a file, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_drawn(request: Request, target: Path) -> None:
    from cvd.data.drawn import write_drawn_archive  # OpenCV's drawing code, which the other sources do without

    def show(images: Any) -> Any:
        return tqdm(images, total=2 * request.n_per_class, desc="draw", unit="image")

    write_drawn_archive(target, n_per_class=request.n_per_class, seed=request.seed, progress=show)


def _fetch_directory(request: Request, target: Path) -> None:
    folder = _find(request.path, target)
    if not folder.is_dir():
        raise InputError(f"data.path {request.path} is a file, not a folder: use data.source=archive for a zip or tar")
    with tqdm(desc="pack", unit="file") as bar:
        packing.pack_folder(folder, target, progress=bar.update)


def _fetch_archive(request: Request, target: Path) -> None:
    path = _find(request.path, target)
    if path.is_dir():
        raise InputError(f"data.path {request.path} is a folder, not a zip or tar: use data.source=directory")
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if zipfile.is_zipfile(path):
            # A copy, not a hard link: DVC may write-protect its outputs, and this file is the user's.
            shutil.copyfile(path, target)
            return
        is_tar = start != b"PK\x03\x04" and tarfile.is_tarfile(path)
    except (OSError, EOFError) as error:
        raise InputError(f"data.path {request.path} cannot be read: {error}") from error
    if not is_tar:
        damaged = "a damaged zip: its end is missing" if start == b"PK\x03\x04" else "neither a zip nor a tar"
        raise InputError(f"data.path {request.path} is {damaged}: give a whole .zip, .tar, .tar.gz, .bz2 or .xz")
    with tqdm(desc="repack", unit="file") as bar:
        packing.repack_tar(path, target, progress=bar.update)


def _find(given: str, target: Path) -> Path:
    path = Path(given).expanduser()
    if not path.exists():
        raise InputError(f"data.path {given} does not exist: give a folder, zip or tar with the photos")
    if path.resolve() in (target.with_name("raw.zip").resolve(), target.resolve()):
        raise InputError(f"data.path {given} is this stage's own output: keep the photos somewhere else")
    return path


# Each entry fetches into a zip and knows the licence. A new source is a new entry, and a new name in cvd.params.
SOURCES: dict[str, tuple[Callable[[Request, Path], None], str]] = {
    "drawn": (_fetch_drawn, _OWN),
    "directory": (_fetch_directory, _UNKNOWN),
    "archive": (_fetch_archive, _UNKNOWN),
}
