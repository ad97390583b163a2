"""From an archive to data/images: every member read, checked, grouped, assigned and written, or accounted for."""

import tempfile
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from cvd.data.archives import layouts
from cvd.data.archives import reading as archives
from cvd.data.archives.formats import RefusedError, find_format
from cvd.data.archives.reading import MAX_MEMBER_BYTES, Member, UnreadableError
from cvd.data.images.manifest import LABELS, SPLITS, UNUSED, order_naturally
from cvd.data.intake import duplicates, masks
from cvd.data.intake.assignment import assign_splits
from cvd.data.intake.inspection import Intake, inspect_image
from cvd.runtime.errors import InputError

_WAITING_BYTES = 64 * 2**20  # read, but not decoded yet; bounds the memory
_WAITING = 64

Wrap = Callable[[Iterable[Member], int, str], Iterable[Member]]
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A labelled image that can be used.

    Attributes:
        member: where it comes from.
        label: 0 cat, 1 dog.
        intake: without its data, to save memory.
        place: start and end in the spool where the image was normalised; None when it can be copied.
    """

    member: Member
    label: int
    intake: Intake
    place: tuple[int, int] | None


@dataclass(frozen=True)
class Placement:
    """What became of a source.

    Attributes:
        rows: of the manifest.
        quarantine: rows of the quarantine list.
        n_near_pairs: pairs of near-duplicates found.
        n_parted: images unused because their group was larger than the room left.
        n_masks: members that are masks of an image, neither in `rows` nor in `quarantine`.
    """

    rows: list[Row]
    quarantine: list[Row]
    n_near_pairs: int
    n_parted: int
    n_masks: int


def place_images(
    archive: str | Path,
    images: Path,
    masks_path: Path,
    *,
    train: int | None,
    validation: int,
    test: int,
    seed: int,
    threads: int,
    progress: Wrap | None = None,
) -> Placement:
    """Reads an archive's images, gives each a split and writes them.

    Args:
        archive: a zip, as the download stage leaves it.
        images: an existing empty folder; `{split}/{label}/{name}.jpg` are written into it.
        masks_path: a zip to be written: `{kind}/{path of its image}.png`.
        train: images per class, None: all that is left.
        validation: images per class.
        test: images per class.
        seed: of the split, see `assign_splits`.
        threads: that decode; the outcome does not depend on it.
        progress: wraps the members that are read: (members, how many, description) -> members.

    Raises:
        InputError: the archive cannot be read, holds no image of one class, or too few.
    """
    wrap: Wrap = progress or (lambda members, n, description: members)
    quarantine: list[Row] = []
    with archives.open_archive(archive) as members, tempfile.TemporaryFile(dir=images.parent) as spool:
        mask_members, others = masks.part_masks(members)
        if not others:
            raise InputError(f"{archive} is empty: it holds no files at all")
        candidates = list(_inspect_all(wrap(others, len(others), "check"), spool, quarantine, threads))
        if not candidates:
            reasons = Counter(str(row["reason"]) for row in quarantine)
            found = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
            raise InputError(f"{archive} holds no usable image of a cat or dog among its {len(others)} files: {found}")
        candidates, copies = _drop_copies(candidates)
        labels = [each.label for each in candidates]
        pairs = duplicates.find_near_duplicates([each.intake.thumbnail for each in candidates])
        groups = duplicates.name_groups([each.intake.source_sha256[:16] for each in candidates], pairs)
        assignment = assign_splits(labels, groups, train=train, validation=validation, test=test, seed=seed)
        rows = _make_rows(candidates, groups, assignment.splits)
        paths = {each.member.name: str(row["path"]) for each, row in zip(candidates, rows, strict=True) if row["path"]}
        _write_images(candidates, paths, spool, images, wrap)
        broken = masks.write_masks(mask_members, paths, masks_path)
        lost = [_refuse(member, "unreadable", why) for member, why in broken]
    n_masks = len(mask_members) - len(lost)
    return Placement(rows, [*quarantine, *copies, *lost], len(pairs), assignment.n_parted, n_masks)


def _inspect_all(
    members: Iterable[Member], spool: IO[bytes], quarantine: list[Row], threads: int
) -> Iterator[Candidate]:
    """Reads members one after the other and decodes them in threads; the order stays."""
    waiting: deque[tuple[Member, int, int, Future[Intake]]] = deque()
    n_bytes = 0

    def finish() -> Iterator[Candidate]:
        nonlocal n_bytes
        member, label, n, future = waiting.popleft()
        n_bytes -= n
        try:
            yield _spool(member, label, future.result(), spool)
        except RefusedError as refusal:
            quarantine.append(_refuse(member, refusal.reason, refusal.detail))

    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # Pillow warns about every oddity; what matters is in the quarantine list
        for member in members:
            try:
                label, data = _read_image(member)
            except RefusedError as refusal:
                quarantine.append(_refuse(member, refusal.reason, refusal.detail))
                continue
            waiting.append((member, label, len(data), pool.submit(_inspect, data)))
            n_bytes += len(data)
            while len(waiting) >= _WAITING or n_bytes > _WAITING_BYTES:
                yield from finish()
        while waiting:
            yield from finish()


def _inspect(data: bytes) -> Intake:
    intake = inspect_image(data)
    return intake if intake.words else replace(intake, data=b"")


def _spool(member: Member, label: int, intake: Intake, spool: IO[bytes]) -> Candidate:
    if not intake.words:
        return Candidate(member, label, intake, None)
    start = spool.tell()
    spool.write(intake.data)
    return Candidate(member, label, replace(intake, data=b""), (start, spool.tell()))


def _read_image(member: Member) -> tuple[int, bytes]:
    """A member's label and bytes, or the RefusedError that can be told before it is decoded."""
    if member.unsafe:
        raise RefusedError("unsafe", member.unsafe)
    if layouts.is_junk(member.name):
        raise RefusedError("not_an_image", "left behind by macOS or Windows")
    labelling = layouts.find_label(member.name)
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


def _refuse(member: Member, reason: str, detail: str) -> Row:
    return {"source_name": member.name, "reason": reason, "detail": detail}


def _drop_copies(candidates: list[Candidate]) -> tuple[list[Candidate], list[Row]]:
    """One of each image, untouched ones first, in natural order of names, and quarantine rows for the others."""
    candidates = sorted(candidates, key=lambda each: (each.intake.words != "", order_naturally(each.member.name)))
    dropped: set[int] = set()
    rows = []
    for copies in duplicates.find_copies([each.intake.pixels_digest for each in candidates]):
        conflict = len({candidates[i].label for i in copies}) > 1
        for i in copies if conflict else copies[1:]:
            dropped.add(i)
            other = candidates[copies[0] if i != copies[0] else copies[1]].member.name
            reason = "conflicting_label" if conflict else "duplicate"
            rows.append(_refuse(candidates[i].member, reason, f"the same image as {other}"))
    return [each for i, each in enumerate(candidates) if i not in dropped], rows


def _make_rows(candidates: Sequence[Candidate], groups: Sequence[str], splits: Sequence[str]) -> list[Row]:
    taken: set[str] = set()
    rows: list[Row] = []
    for each, group, split in zip(candidates, groups, splits, strict=True):
        label, intake = LABELS[each.label], each.intake
        stem = layouts.make_stem(each.member.name, label)
        while stem.lower() in taken:
            stem = f"{stem}-{intake.source_sha256[:12]}"
        taken.add(stem.lower())
        rows.append(
            {
                "path": "" if split == UNUSED else f"{split}/{label}/{stem}.jpg",
                "label": each.label,
                "split": split,
                "width": intake.width,
                "height": intake.height,
                "sha256": intake.sha256,
                "group": group,
                "source_name": each.member.name,
                "normalised": intake.words,
            }
        )
    return rows


def _write_images(
    candidates: Sequence[Candidate], paths: dict[str, str], spool: IO[bytes], images: Path, wrap: Wrap
) -> None:
    for split in SPLITS:
        for label in LABELS:
            (images / split / label).mkdir(parents=True)
    places = {each.member.name: each.place for each in candidates}
    # In the archive's order, which reads it from start to end.
    members = sorted((each.member for each in candidates if each.member.name in paths), key=_locate)
    for member in wrap(members, len(members), "write"):
        place = places[member.name]
        if place:
            spool.seek(place[0])
        data = spool.read(place[1] - place[0]) if place else member.read(MAX_MEMBER_BYTES)
        (images / paths[member.name]).write_bytes(data)


def _locate(member: Member) -> tuple[int, int]:
    return id(member.archive), member.info.header_offset
