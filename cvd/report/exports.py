"""Which pictures of the other stages go into the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cvd.report.pictures import Picture, choose_pictures, count_pictures, encode_picture, name_picture

MOST_BYTES = 6_000_000  # of all pictures of the exports together; with the charts the page stays well below 10 MB
LARGEST_BYTES = 450_000  # of one
SHEETS = {
    "train_cat": "cats to learn from",
    "train_dog": "dogs to learn from",
    "near_duplicates": "near-copies, a group in each row",
}
# Folder below plots/, heading, what it shows, and which pictures: patterns (each for each variant, where it names one)
# with how many.
EXPORTS: tuple[tuple[str, str, str, dict[str, int]], ...] = (
    ("gradcam", "Where it looks", "Grad-CAM: what in the image speaks for an answer.", {"*": 4, "photos/*": 2}),
    ("mistakes", "What it gets wrong", "Test images that were taken for the other animal.", {"*": 4, "*/*": 4}),
    (
        "activations",
        "What its layers answer",
        "Activations: channels of convolution and pooling layers for one image.",
        {"{variant}/*": 1},
    ),
    (
        "filters",
        "What its filters look for",
        "Filters: inputs that excite a filter most, found by gradient ascent.",
        {"{variant}/*": 3},
    ),
    (
        "augmentations",
        "What augmentation makes of an image",
        "The same images, augmented afresh as in training.",
        {"*": 1},
    ),
)


def collect_exports(plots: Path, variants: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """The sections of "what each network sees", for the exports that are there; their pictures share `MOST_BYTES`.

    Args:
        plots: folder of the exports' folders.
        variants: of each export that has a folder for each variant, the variants asked for. Others may lie there from
            earlier: DVC leaves the outputs of a stage that is gone from its graph.
    """
    chosen = {name: _choose(plots / name, patterns, variants.get(name, ())) for name, _, _, patterns in EXPORTS}
    most_bytes = min(LARGEST_BYTES, MOST_BYTES // max(1, sum(map(len, chosen.values()))))
    return [
        {
            "name": name,
            "heading": heading,
            "text": text,
            "pictures": [_encode(path, plots / name, most_bytes, variant) for path, variant in chosen[name]],
            "n_all": sum(count_pictures(plots / name / variant) for variant in variants.get(name, [""])),
        }
        for name, heading, text, _ in EXPORTS
        if chosen[name]
    ]


def _choose(folder: Path, patterns: dict[str, int], variants: Sequence[str]) -> list[tuple[Path, str]]:
    """(picture, its variant or "")."""
    return [
        (path, name)
        for pattern, n in patterns.items()
        for name in (variants if "{variant}" in pattern else ("",))
        for path in choose_pictures(folder, pattern.format(variant=name), n=n)
    ]


def collect_sheets(folder: Path) -> list[Picture]:
    """Of the contact sheets of the data those in `SHEETS`, as far as they are there."""
    paths = [folder / f"{name}.png" for name in SHEETS]
    return [encode_picture(path, most_bytes=LARGEST_BYTES, name=SHEETS[path.stem]) for path in paths if path.is_file()]


def _encode(path: Path, folder: Path, most_bytes: int, variant: str) -> Picture:
    name = name_picture(path.relative_to(folder), variant)
    return encode_picture(path, most_bytes=most_bytes, name=name, variant=variant)
