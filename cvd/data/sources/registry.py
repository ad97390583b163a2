"""Where images come from. Each source becomes one zip, data/raw.zip, and a record of what it is, data/raw.json."""

import os
import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cvd.data.sources import origins
from cvd.data.sources.contents import check_labels
from cvd.data.sources.kaggle import RULES
from cvd.data.sources.origins import Fetch, Request
from cvd.runtime.files import hash_file, replace_file, write_json

# Where a publisher says less, or nothing, the most careful reading counts.
_OWN = "the project's own: drawn by its code"
_UNKNOWN = "unknown: treat as not for redistribution, keep off public remotes"
_RESEARCH = "for non-commercial research, without re-publication: keep off public remotes"


@dataclass(frozen=True)
class Provenance:
    """data/raw.json.

    Attributes:
        source: its name.
        path: of the folder or archive, as given; null for other sources.
        url: the address that was asked, without its secrets; null for other sources.
        fetched_sha256: of the archive that was given or downloaded, before it was repacked; null when there was none.
        fetched_bytes: of the same.
        fetched_at: UTC, ISO 8601.
        sha256: of data/raw.zip.
        bytes: of data/raw.zip.
        members: of data/raw.zip, those of zips inside it included.
        licence: what may be done with the photos.
        redistributable: whether they, and pictures that show them, may go to a public remote.
    """

    source: str
    path: str | None
    url: str | None
    fetched_sha256: str | None
    fetched_bytes: int | None
    fetched_at: str
    sha256: str
    bytes: int
    members: int
    licence: str
    redistributable: bool


@dataclass(frozen=True)
class Source:
    """How a source is fetched, its licence, and whether its images may go to a public remote."""

    fetch: Fetch
    licence: str
    redistributable: bool = False


def fetch_source(source: str, request: Request, *, archive: str | Path, record: str | Path) -> Provenance:
    """Bring a source's images into one zip, whole or not at all, and write where they are from.

    Args:
        source: a key of SOURCES.
        request: what of it.
        archive: the zip to write.
        record: the JSON file to write.

    Raises:
        InputError: the source is missing, out of reach, damaged, encrypted, empty, another file than expected, or
            holds no cat or no dog by its names.
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
            members=check_labels(origin.zip_path, origin.name),
            licence=entry.licence,
            redistributable=entry.redistributable,
        )
        if origin.zip_path != partial:
            _link(origin.zip_path, partial)
    write_json(asdict(provenance), record)
    return provenance


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
