"""The sources. Each becomes one zip, data/raw.zip, and a record of what it is, data/raw.json."""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cvd.data.archives import layouts
from cvd.data.archives.formats import RefusedError, find_format
from cvd.data.archives.reading import Member, UnreadableError, open_archive
from cvd.data.sources import origins
from cvd.data.sources.kaggle import RULES
from cvd.data.sources.origins import Fetch, Request
from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file, replace_file, write_json
from cvd.runtime.vocabulary import Classes, add_article, pluralise

# Where a publisher says less, or nothing, the most careful reading counts.
_OWN = "the project's own: drawn by its code"
_UNKNOWN = "unknown: treat as not for redistribution, keep off public remotes"
_RESEARCH = "for non-commercial research, without re-publication: keep off public remotes"


@dataclass(frozen=True)
class Provenance:
    """data/raw.json."""

    source: str
    path: str | None  # of the folder or archive, as given; null for other sources
    url: str | None  # the requested address, without its secrets; null for other sources
    fetched_sha256: str | None  # of the given or downloaded archive, before it was repacked; null without one
    fetched_bytes: int | None  # of the same
    fetched_at: str  # UTC, ISO 8601
    sha256: str  # of data/raw.zip
    bytes: int  # of data/raw.zip
    members: int  # of data/raw.zip, those of zips inside it included
    licence: str  # what may be done with the photos
    redistributable: bool  # whether they, and pictures that show them, may go to a public remote


@dataclass(frozen=True)
class Source:
    """How a source is fetched, its licence, and whether its images may go to a public remote."""

    fetch: Fetch
    licence: str
    redistributable: bool = False


def fetch_source(source: str, request: Request, *, archive: str | Path, record: str | Path) -> Provenance:
    """Bring the images of a key of SOURCES into one zip, whole or not at all, and write their record.

    Raises:
        InputError: the source is missing, out of reach, damaged, encrypted, empty, another file than expected, or
            holds not both classes by its names, or a third.
    """
    entry = SOURCES[source]
    with ExitStack() as stack:
        partial = stack.enter_context(replace_file(archive))
        origin = entry.fetch(request, partial, stack)
        provenance = Provenance(
            source=source,
            path=origin.path,
            url=origin.url,
            fetched_sha256=origin.sha256,
            fetched_bytes=origin.n_bytes,
            fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
            sha256=hash_file(origin.zip_path),
            bytes=origin.zip_path.stat().st_size,
            members=check_labels(origin.zip_path, origin.name, request.classes),
            licence=entry.licence,
            redistributable=entry.redistributable,
        )
        if origin.zip_path != partial:
            _link(origin.zip_path, partial)
    write_json(asdict(provenance), record)
    return provenance


def check_labels(archive: str | Path, name: str, classes: Classes | Literal["auto"]) -> int:
    """Count a zip's members; refuse it where it promises not both classes: by names, then by first bytes.

    Raises:
        InputError: it is unreadable, empty, not of two classes, or a class has no readable image.
    """
    with origins.call_it(name, archive), open_archive(archive) as members:
        if not members:
            raise InputError(f"{archive} is empty: it holds no files at all")
        files = [member for member in members if not layouts.is_junk(member.name)]
        try:
            chosen = layouts.choose_classes(classes, [file.name for file in files])
        except InputError as error:
            raise InputError(f"{archive}: {error}") from error
        layout = layouts.Layout(chosen)
        labels = [layout.find_label(file.name).label for file in files]
        _check_names(labels, files, archive, chosen)
        for label, word in enumerate(chosen):
            labelled = [file for file, file_label in zip(files, labels, strict=True) if file_label == label]
            _check_first_bytes(labelled, word, archive)
        return len(members)


def _check_names(
    labels: Sequence[int | None], members: Sequence[Member], archive: str | Path, classes: Classes
) -> None:
    missing = [label for label in range(len(classes)) if label not in labels]
    if not missing:
        return
    for member in members:
        if member.name.lower().endswith(".zip"):
            raise InputError(f"{archive} holds {member.name}, {_explain_closed_zip(member)}")
    (first, second), (many, others) = classes, map(pluralise, classes)
    held = f"neither {many} nor {others}"
    if len(missing) == 1:
        held = f"only {many}, no {others}" if missing[0] else f"only {others}, no {many}"
    named = layouts.list_classes(member.name for member in members)
    advice = f"; or name its classes, such as data.classes=[{named[0]},{named[1]}]" if len(named) == 2 else ""
    raise InputError(
        f"{archive} holds {held} by the names of its {len(members)} files: "
        f"give files named {first}.N.jpg and {second}.N.jpg, or folders named {first} and {second}{advice}"
    )


def _explain_closed_zip(member: Member) -> str:
    if member.unsafe:
        return f"which is not opened ({member.unsafe}): give what it leads to, or put it into the folder"
    if ".zip/" in member.name.lower():
        return "a zip inside a zip inside a zip, which is not opened: unpack it and give the folder or the inner zip"
    return "which is damaged, encrypted or packed far too densely for photos: unpack it and give the folder"


def _check_first_bytes(members: Sequence[Member], word: str, archive: str | Path) -> None:
    """Refuse members unless one begins like an image; reading ends at the first that does."""
    refusals = []
    for member in members:
        try:
            find_format(member.read(64))
        except (RefusedError, UnreadableError) as refusal:
            refusals.append(f"{member.name} is {refusal}" if isinstance(refusal, RefusedError) else str(refusal))
        else:
            return
    raise InputError(
        f"{archive} holds no image of {add_article(word)} that can be read among {len(members)} files so named "
        f"({refusals[0]}): give JPEG, PNG, GIF, BMP, WebP or TIFF images"
    )


def _link(source: Path, target: Path) -> None:
    """Put a finished download in place, by a hard link where the file system permits it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# A new source is a new entry, and a new name in cvd.runtime.params.sections.
SOURCES = {
    "drawn": Source(origins.fetch_drawn, _OWN, redistributable=True),
    "directory": Source(origins.fetch_directory, _UNKNOWN),
    "archive": Source(origins.fetch_archive, _UNKNOWN),
    "microsoft": Source(origins.fetch_known(origins.MICROSOFT), f"Asirra's photos, {_RESEARCH}"),
    "filtered": Source(origins.fetch_known(origins.FILTERED), f"some of Asirra's photos, {_RESEARCH}"),
    "kaggle": Source(origins.fetch_kaggle, f"Asirra's photos, {_RESEARCH}; the competition's rules: {RULES}"),
    "url": Source(origins.fetch_url, _UNKNOWN),
}
