"""An archive's members: images, read and inspected in order, and the masks of drawn images."""

import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from cvd.data.archives import layouts
from cvd.data.archives.formats import RefusedError, find_format
from cvd.data.archives.layouts import Layout
from cvd.data.archives.reading import MAX_MEMBER_BYTES, Member, UnreadableError
from cvd.data.images.manifest import order_naturally
from cvd.data.intake import duplicates
from cvd.data.intake.inspection import Intake, inspect_image
from cvd.runtime.threads import map_ahead

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_AHEAD = 64  # members that are read ahead, each counted once more for each MB of it; bounds the memory

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A labelled image that can be used."""

    member: Member
    label: int  # 0 or 1
    intake: Intake  # without its data, to save memory
    place: tuple[int, int] | None  # start and end of the normalised image in the spool; None when it can be copied


def inspect_members(
    members: Iterable[Member], layout: Layout, spool: IO[bytes], quarantine: list[Row], threads: int
) -> Iterator[Candidate]:
    """Read members one after the other and decode them on threads; the order stays.

    The `layout` reads labels. The `spool` takes the normalised images, `quarantine` a row for each refused member.
    """

    def read() -> Iterator[tuple[Member, int, bytes]]:
        for member in members:
            try:
                label, data = _read_image(member, layout)
            except RefusedError as refusal:
                quarantine.append(refuse(member, refusal.reason, refusal.detail))
            else:
                yield member, label, data

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about every oddity; what matters is in the quarantine list
        inspected = map_ahead(
            _inspect, read(), n_ahead=_AHEAD, n_threads=threads, weigh=lambda image: 1 + len(image[2]) // 2**20
        )
        for member, label, outcome in inspected:
            if isinstance(outcome, RefusedError):
                quarantine.append(refuse(member, outcome.reason, outcome.detail))
            else:
                yield _spool(member, label, outcome, spool)


def _inspect(image: tuple[Member, int, bytes]) -> tuple[Member, int, Intake | RefusedError]:
    member, label, data = image
    try:
        intake = inspect_image(data)
    except RefusedError as refusal:
        # Without its traceback, whose frames hold the file's bytes.
        return member, label, RefusedError(refusal.reason, refusal.detail)
    return member, label, intake if intake.words else replace(intake, data=b"")


def _spool(member: Member, label: int, intake: Intake, spool: IO[bytes]) -> Candidate:
    if not intake.words:
        return Candidate(member, label, intake, None)
    start = spool.tell()
    spool.write(intake.data)
    return Candidate(member, label, replace(intake, data=b""), (start, spool.tell()))


def _read_image(member: Member, layout: Layout) -> tuple[int, bytes]:
    """Read a member's label and bytes; raise the RefusedErrors that need no decoding."""
    if member.unsafe:
        raise RefusedError("unsafe", member.unsafe)
    if layouts.is_junk(member.name):
        raise RefusedError("not_an_image", "left behind by macOS or Windows")
    labelling = layout.find_label(member.name)
    is_large = member.n_bytes > MAX_MEMBER_BYTES
    try:
        data = member.read(64 if labelling.label is None or is_large else MAX_MEMBER_BYTES)
    except UnreadableError as error:
        raise RefusedError("unreadable", str(error)) from error
    find_format(data)
    if labelling.label is None:
        raise RefusedError(labelling.reason, labelling.detail)
    if is_large:
        raise RefusedError("too_large", f"{member.n_bytes:,} bytes, more than {MAX_MEMBER_BYTES:,}")
    return labelling.label, data


def refuse(member: Member, reason: str, detail: str) -> Row:
    """Make a row of the quarantine list."""
    return {"source_name": member.name, "reason": reason, "detail": detail}


def drop_copies(candidates: list[Candidate]) -> tuple[list[Candidate], list[Row]]:
    """Keep one of each image, untouched ones first, in natural order; the others get quarantine rows."""
    candidates = sorted(candidates, key=lambda image: (image.intake.words != "", order_naturally(image.member.name)))
    dropped: dict[int, Row] = {}
    for copies in duplicates.find_copies([candidate.intake.pixels_digest for candidate in candidates]):
        is_conflict = len({candidates[i].label for i in copies}) > 1
        for i in copies if is_conflict else copies[1:]:
            other = candidates[copies[0] if i != copies[0] else copies[1]].member.name
            reason = "conflicting_label" if is_conflict else "duplicate"
            dropped[i] = refuse(candidates[i].member, reason, f"the same image as {other}")
    return [candidate for i, candidate in enumerate(candidates) if i not in dropped], list(dropped.values())


def part_masks(members: Sequence[Member]) -> tuple[list[Member], list[Member]]:
    """Part masks that belong to an image (`masks/animal/cat.0.png` to `cat/cat.0.jpg`) from all other members."""
    likely = {member.name for member in members if layouts.find_mask(member.name) and not member.unsafe}
    images = [_drop_suffix(member.name) for member in members if member.name not in likely]
    stems = {*images, *(stem.split("/")[-1] for stem in images)}
    masks = [member for member in members if member.name in likely and _read_name(member)[1] in stems]
    names = {member.name for member in masks}
    return masks, [member for member in members if member.name not in names]


def write_masks(
    masks: Sequence[Member], paths: Mapping[str, str], target: str | Path, made: Mapping[str, bytes]
) -> list[Row]:
    """Copy the masks of placed images into a zip, `animal/test/cat/cat.3.png`, sorted; empty without masks.

    `paths` maps an image's source name to its path in data/images; `made` are masks made here, by their names in the
    zip, which come last. Return quarantine rows of unreadable masks.
    """
    by_stem: dict[str, str] = {}
    for name, path in paths.items():
        stem = _drop_suffix(name)
        by_stem[stem] = by_stem[stem.split("/")[-1]] = _drop_suffix(path)
    named = {}
    for member in masks:
        kind, stem = _read_name(member)
        if stem in by_stem:
            named[f"{kind}/{by_stem[stem]}.png"] = member
    broken = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, member in sorted(named.items()):
            try:
                archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), member.read(MAX_MEMBER_BYTES))
            except UnreadableError as error:
                broken.append(refuse(member, "unreadable", str(error)))
        for name, data in sorted(made.items()):
            archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), data)
    return broken


def _read_name(mask: Member) -> tuple[str, str]:
    return layouts.find_mask(mask.name) or ("", "")


def _drop_suffix(name: str) -> str:
    return name.rsplit(".", 1)[0]
