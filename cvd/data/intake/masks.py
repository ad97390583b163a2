"""Masks of drawn images: they travel beside the images, named like them."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cvd.data.archives import layouts
from cvd.data.archives.reading import MAX_MEMBER_BYTES, Member, UnreadableError

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


def part_masks(members: Sequence[Member]) -> tuple[list[Member], list[Member]]:
    """Masks that belong to an image (`masks/animal/cat.0.png` to `cat/cat.0.jpg`), and all other members."""
    likely = {member.name for member in members if layouts.find_mask(member.name) and not member.unsafe}
    images = [_drop_suffix(member.name) for member in members if member.name not in likely]
    stems = {*images, *(stem.split("/")[-1] for stem in images)}
    masks = [member for member in members if member.name in likely and _read_name(member)[1] in stems]
    names = {member.name for member in masks}
    return masks, [member for member in members if member.name not in names]


def write_masks(masks: Sequence[Member], paths: Mapping[str, str], target: str | Path) -> list[tuple[Member, str]]:
    """Copies the masks of placed images into a zip, `animal/test/cat/cat.3.png`, sorted.

    Args:
        masks: as `part_masks` gives them.
        paths: source name of an image -> its path in data/images.
        target: the zip to write; empty when there are no masks.

    Returns:
        Masks that the archive cannot give, and why.
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
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        broken = []
        for name in sorted(named):
            try:
                archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), named[name].read(MAX_MEMBER_BYTES))
            except UnreadableError as error:
                broken.append((named[name], str(error)))
    return broken


def _read_name(mask: Member) -> tuple[str, str]:
    return layouts.find_mask(mask.name) or ("", "")


def _drop_suffix(name: str) -> str:
    return name.rsplit(".", 1)[0]
