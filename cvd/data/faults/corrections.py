"""data/corrections.csv: what people decided about single images. Read, matched with the source, written."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.vocabulary import Classes

COLUMNS = ("sha256", "action", "label", "why")
DROP, RELABEL = "drop", "relabel"


@dataclass(frozen=True)
class Correction:
    """A row: what becomes of an image."""

    sha256: str  # of the image file, as in the manifest
    label: str | None  # the class that it is of; None: the image is not used
    why: str
    line: int  # of the file


def read_corrections(path: str | Path, classes: Classes | Literal["auto"]) -> list[Correction]:
    """Read all rows; for `auto` any label is taken until the source has been read.

    Raises:
        InputError: the file is missing or no such table, or a row is not valid; the message names its line.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if any(row)]
    except OSError as error:
        advice = f"`git checkout {path}`, or write a file with the line {','.join(COLUMNS)}"
        raise InputError(f"cannot read the corrections {path}: {error.strerror}: {advice}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV file in UTF-8: {error}") from error
    header = rows[0][1] if rows else []
    if tuple(header) != COLUMNS:
        raise InputError(f"{path} begins with {','.join(header)!r}: its first line should be {','.join(COLUMNS)}")
    corrections: dict[str, Correction] = {}
    for line, row in rows[1:]:
        correction = _read_row(row, f"{path}, line {line}", line)
        if classes != "auto" and correction.label is not None:
            find_class(correction, classes, path)
        if (first := corrections.setdefault(correction.sha256, correction)) is not correction:
            raise InputError(f"{path}, line {line}: sha256 {correction.sha256} is in line {first.line} already")
    return list(corrections.values())


def _read_row(row: Sequence[str], place: str, line: int) -> Correction:
    if len(row) != len(COLUMNS):
        raise InputError(f"{place} has {len(row)} fields: it should have {len(COLUMNS)}, {','.join(COLUMNS)}")
    sha256, action, label, why = (field.strip() for field in row)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InputError(f"{place}: sha256 {sha256!r} should be 64 digits, as in data/manifest.csv")
    if action not in (DROP, RELABEL):
        raise InputError(f"{place}: action {action!r} should be {DROP} or {RELABEL}")
    if action == DROP and label:
        raise InputError(f"{place}: label {label!r} should be empty, since the action is {DROP}")
    return Correction(sha256.lower(), label if action == RELABEL else None, why, line)


def find_class(correction: Correction, classes: Classes, path: str | Path = "data/corrections.csv") -> int:
    """Find the number of the class that a correction names.

    Raises:
        InputError: it names neither.
    """
    if correction.label not in classes:
        accepted = " or ".join(classes)
        raise InputError(f"{path}, line {correction.line}: label {correction.label!r} should be {accepted}")
    return classes.index(correction.label)


def match_corrections(
    corrections: Sequence[Correction], sha256s: Sequence[str], pictures: Sequence[str]
) -> dict[int, Correction]:
    """Match corrections with the source's images: {number of an image: its correction}.

    A correction counts for all copies of the image, so that none comes in its place.

    Args:
        corrections: of different hashes.
        sha256s: (n,), of the image files.
        pictures: (n,), digests of the pixels: copies of an image have the same.

    Raises:
        InputError: a correction fits no image, or two disagree about copies of one.
    """
    by_hash: dict[str, set[str]] = {}
    for sha256, picture in zip(sha256s, pictures, strict=True):
        by_hash.setdefault(sha256, set()).add(picture)
    by_picture: dict[str, Correction] = {}
    for correction in corrections:
        place = f"data/corrections.csv, line {correction.line}: "
        if correction.sha256 not in by_hash:
            advice = "remove the line, or bring the source that it was written for"
            raise InputError(f"{place}no usable image of the source has sha256 {correction.sha256}: {advice}")
        for picture in by_hash[correction.sha256]:
            first = by_picture.setdefault(picture, correction)
            if first.label != correction.label:
                raise InputError(f"{place}the image is a copy of line {first.line}'s, which says another thing of it")
    return {i: by_picture[picture] for i, picture in enumerate(pictures) if picture in by_picture}


def write_corrections(path: str | Path, rows: Mapping[str, tuple[str | None, str]]) -> None:
    """Write {sha256: (class or None to drop, why)} behind the rows that are there; a new row replaces an old one.

    Raises:
        InputError: as of `read_corrections`.
    """
    said = {old.sha256: (old.label, old.why) for old in read_corrections(path, "auto")}
    with replace_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for sha256, (label, why) in (said | dict(rows)).items():
            writer.writerow([sha256, DROP, "", why] if label is None else [sha256, RELABEL, label, why])
