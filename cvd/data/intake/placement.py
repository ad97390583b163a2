"""From an archive to data/images: every member read, checked, grouped, assigned and written, or accounted for."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from cvd.data.archives import layouts
from cvd.data.archives.reading import MAX_MEMBER_BYTES, Member, open_archive
from cvd.data.faults import planting
from cvd.data.faults.corrections import Correction, find_class, match_corrections, read_corrections
from cvd.data.images.manifest import (
    PLANTED,
    UNUSED,
    read_manifest,
    read_quarantine,
    write_checksums,
    write_manifest,
    write_quarantine,
)
from cvd.data.intake import duplicates
from cvd.data.intake.assignment import assign_splits
from cvd.data.intake.members import Candidate, Row, drop_copies, inspect_members, part_masks, refuse, write_masks
from cvd.data.intake.summary import summarise_data, write_sheets
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file, replace_folder, write_json
from cvd.runtime.threads import count_cores
from cvd.runtime.vocabulary import SPLITS, Classes, add_article

_MOST_THREADS = 8

Wrap = Callable[[Iterable[Member], str, int], Iterable[Member]]
"""(members, description, how many) -> members, as tqdm takes them."""


@dataclass(frozen=True)
class Placement:
    """What became of a source."""

    rows: list[Row]  # of the manifest
    quarantine: list[Row]  # rows of the quarantine list
    n_masks: int  # members that are masks of an image, neither in `rows` nor in `quarantine`
    n_corrections: dict[str, int]  # rows of data/corrections.csv, by what they did; empty without rows


def split_archive(
    archive: Path,
    *,
    corrections: Path,
    images: Path,
    checksums: Path,
    manifest: Path,
    quarantine: Path,
    masks: Path,
    summary: Path,
    sheets: Path,
    **options: Any,
) -> dict[str, Any]:
    """Place an archive's images (`options`: see `place_images`), list and count them; return `summarise_data`'s counts.

    The outputs appear together, at the end: the images first, what lists them last.
    """
    with ExitStack() as stack:  # which publishes in the opposite order
        summary_path = stack.enter_context(replace_file(summary))
        manifest_path = stack.enter_context(replace_file(manifest))
        quarantine_path = stack.enter_context(replace_file(quarantine))
        sheets_folder = stack.enter_context(replace_folder(sheets))
        masks_path = stack.enter_context(replace_file(masks))
        checksums_path = stack.enter_context(replace_file(checksums))
        images_folder = stack.enter_context(replace_folder(images))
        decided = read_corrections(corrections, options["classes"])
        placement = place_images(archive, images_folder, masks_path, corrections=decided, **options)
        write_manifest(placement.rows, manifest_path)
        write_quarantine(placement.quarantine, quarantine_path)
        table = read_manifest(manifest_path)
        write_checksums(table, checksums_path)
        counts = summarise_data(table, read_quarantine(quarantine_path), n_masks=placement.n_masks)
        counts |= {"corrections": placement.n_corrections} if decided else {}
        write_json(counts, summary_path)
        write_sheets(images_folder, table, sheets_folder)
    return counts


def place_images(
    archive: str | Path,
    images: Path,
    masks_path: Path,
    *,
    classes: Classes | Literal["auto"],
    train: float | None,
    validation: float,
    test: float,
    seed: int,
    corrections: Sequence[Correction] = (),
    label_noise: float = 0.0,
    shortcut: float = 0.0,
    group_duplicates: bool = True,
    threads: int | None = None,
    progress: Wrap | None = None,
) -> Placement:
    """Read an archive's images, assign each a split, and write `{split}/{label}/{name}.jpg` into an empty folder.

    Args:
        archive: a zip, as the download stage leaves it.
        images: the folder.
        masks_path: a zip to be written: `{kind}/{path of its image}.png`.
        classes: the two, or auto: those of the archive's two folders.
        train: images per class, a share of them, or None: all that is left; see `assign_splits`.
        validation: images per class, or a share of them.
        test: images per class, or a share of them.
        seed: of the split, see `assign_splits`, and of planted faults.
        corrections: what people decided about single images.
        label_noise: share of the training labels that are exchanged, see `plant_noise`.
        shortcut: share of the second class's training images that bear a watermark, see `plant_watermarks`.
        group_duplicates: whether near-duplicates share a split.
        threads: that decode; None: one for each core, up to eight. They do not change the outcome.
        progress: wraps the members that are read.

    Raises:
        InputError: the archive cannot be read, holds too few images of a class, or a third class; a correction fits no
            image.
    """
    wrap: Wrap = progress or (lambda members, description, n: members)
    threads = threads or min(_MOST_THREADS, count_cores())
    quarantine: list[Row] = []
    with open_archive(archive) as members, tempfile.TemporaryFile(dir=images.parent) as spool:
        masks, others = part_masks(members)
        if not others:
            raise InputError(f"{archive} is empty: it holds no files at all")
        layout = layouts.Layout(layouts.choose_classes(classes, [member.name for member in others]))
        readable = wrap(others, "check", len(others))
        candidates = list(inspect_members(readable, layout, spool, quarantine, threads))
        if not candidates:
            reasons = Counter(str(row["reason"]) for row in quarantine)
            counts = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
            either = f"{add_article(layout.classes[0])} or {layout.classes[1]}"
            raise InputError(f"{archive} holds no usable image of {either} among its {len(others)} files: {counts}")
        candidates, dropped, n_corrections = _correct(candidates, corrections, layout.classes)
        candidates, copies = drop_copies(candidates)
        pairs = duplicates.find_near_duplicates([candidate.intake.thumbnail for candidate in candidates])
        names = [candidate.intake.source_sha256[:16] for candidate in candidates]
        groups = duplicates.name_groups(names, pairs)
        labels = [candidate.label for candidate in candidates]
        sizes: dict[str, Any] = {"train": train, "validation": validation, "test": test}
        together = groups if group_duplicates else names
        splits = assign_splits(labels, together, classes=layout.classes, **sizes, seed=seed)
        is_wrong = planting.plant_noise(labels, splits, names, share=label_noise, seed=seed)
        labels = [1 - label if wrong else label for label, wrong in zip(labels, is_wrong, strict=True)]
        is_marked = planting.plant_watermarks(labels, splits, names, share=shortcut, seed=seed)
        rows = _make_rows(candidates, labels, groups, splits, layout)
        if label_noise:
            rows = [row | {PLANTED: int(wrong)} for row, wrong in zip(rows, is_wrong, strict=True)]
        paths = {str(row["source_name"]): str(row["path"]) for row in rows if row["path"]}
        for split in SPLITS:
            for label in layout.classes:
                (images / split / label).mkdir(parents=True)
        _write_images(candidates, paths, spool, images, wrap)
        marks = dict(_mark_image(row, images) for row, marked in zip(rows, is_marked, strict=True) if marked)
        broken = write_masks(masks, paths, masks_path, marks)
    return Placement(rows, [*quarantine, *dropped, *copies, *broken], len(masks) - len(broken), n_corrections)


def _correct(
    candidates: list[Candidate], corrections: Sequence[Correction], classes: Classes
) -> tuple[list[Candidate], list[Row], dict[str, int]]:
    """Drop and relabel images; dropped ones get quarantine rows. Count the corrections by what they did."""
    sha256s, pictures = zip(*((image.intake.sha256, image.intake.pixels_digest) for image in candidates), strict=True)
    matched = match_corrections(corrections, sha256s, pictures)
    dropped, done, kept = [], dict.fromkeys((one.line for one in corrections), "unchanged"), []
    for i, candidate in enumerate(candidates):
        if (correction := matched.get(i)) is None:
            kept.append(candidate)
        elif correction.label is None:
            done[correction.line] = "dropped"
            dropped.append(refuse(candidate.member, "dropped", correction.why or "data/corrections.csv says so"))
        else:
            label = find_class(correction, classes)
            done[correction.line] = "relabelled" if candidate.label != label else done[correction.line]
            kept.append(replace(candidate, label=label))
    n_done = Counter(done.values())
    return kept, dropped, {word: n_done[word] for word in ("dropped", "relabelled", "unchanged")}


def _mark_image(row: Row, images: Path) -> tuple[str, bytes]:
    """Stamp a watermark on a written image, and say so in its row; the mask's place in the zip, and the mask."""
    path = images / str(row["path"])
    data, mask = planting.stamp_watermark(path.read_bytes())
    path.write_bytes(data)
    words = f"{row['normalised']} watermark".strip()
    row |= {"sha256": hashlib.sha256(data).hexdigest(), "normalised": words}
    return f"watermark/{row['path']}".rsplit(".", 1)[0] + ".png", mask


def _make_rows(
    candidates: Sequence[Candidate],
    labels: Sequence[int],
    groups: Sequence[str],
    splits: Sequence[str],
    layout: layouts.Layout,
) -> list[Row]:
    taken: set[str] = set()
    rows: list[Row] = []
    for candidate, label, group, split in zip(candidates, labels, groups, splits, strict=True):
        named, intake = layout.find_label(candidate.member.name).label, candidate.intake
        # By the source's label, whatever the image is called now: so no other image gets another name.
        source_label = layout.classes[candidate.label if named is None else named]
        stem = layout.make_stem(candidate.member.name, source_label)
        while stem.lower() in taken:
            stem = f"{stem}-{intake.source_sha256[:12]}"
        taken.add(stem.lower())
        words = f"{intake.words} relabelled".strip() if named != candidate.label else intake.words
        rows.append(
            {
                "path": "" if split == UNUSED else f"{split}/{layout.classes[label]}/{stem}.jpg",
                "label": label,
                "split": split,
                "width": intake.width,
                "height": intake.height,
                "sha256": intake.sha256,
                "group": group,
                "source_name": candidate.member.name,
                "normalised": words,
            }
        )
    return rows


def _write_images(
    candidates: Sequence[Candidate], paths: dict[str, str], spool: IO[bytes], images: Path, wrap: Wrap
) -> None:
    places = {candidate.member.name: candidate.place for candidate in candidates}
    # In the archive's order, which reads it from start to end.
    members = sorted((candidate.member for candidate in candidates if candidate.member.name in paths), key=_locate)
    for member in wrap(members, "write", len(members)):
        place = places[member.name]
        if place:
            spool.seek(place[0])
        data = spool.read(place[1] - place[0]) if place else member.read(MAX_MEMBER_BYTES)
        (images / paths[member.name]).write_bytes(data)


def _locate(member: Member) -> tuple[int, int]:
    return id(member.archive), member.info.header_offset
