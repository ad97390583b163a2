"""Choose which pictures of the other stages go into the report."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvd.report.pictures import Picture, choose_pictures, encode_picture, list_pictures, name_picture
from cvd.runtime.vocabulary import Classes, pluralise

MOST_BYTES = 2_600_000  # of all pictures of the exports together; the page of the default run stays below 6 MB
LARGEST_BYTES = 300_000  # of one
# Name, heading, what it shows, and which pictures: patterns below plots/ (each for each variant, where it names one)
# with how many of these it shows; 0 only counts them.
EXPORTS: tuple[tuple[str, str, str, dict[str, int]], ...] = (
    ("gradcam", "Where it looks", "Heat maps: what in the image speaks for an answer.",
     {"side_by_side/images/*": 4, "photos/*": 12, "gradcam/{variant}/**/*": 0}),
    ("epochs", "How that changes as it learns", "The same images after every n-th epoch of the training.",
     {"gradcam/{variant}/epochs/{variant}.*": 1}),
    ("contradictions", "When a heat map contradicts its network", "Grad-CAM can show more heat for what is denied.",
     {"side_by_side/contradictions.*": 1}),
    ("mistakes", "What it gets wrong", "Test images that were taken for the other class.",
     {"side_by_side/disagreements.*": 1, "mistakes/{variant}.*": 1}),
    ("activations", "What its layers answer", "Activations: channels of convolution and pooling layers for one image.",
     {"activations/{variant}/*": 1, "activations/{variant}/*/*": 0}),
    ("filters", "What its filters look for", "Filters: inputs that excite a filter most, found by gradient ascent.",
     {"filters/{variant}/*": 3}),
    ("augmentations", "What augmentation makes of an image", "The same images, augmented afresh as in training.",
     {"augmentations/*": 1}),
)  # fmt: skip


def collect_exports(plots: Path, variants: Sequence[str], classes: Classes) -> list[dict[str, Any]]:
    """Collect the sections of "what each network sees", of the exports that are there; pictures share `MOST_BYTES`.

    Folders of other variants may lie there: DVC leaves the outputs of a stage that is gone.
    """
    chosen = {name: _choose_pictures(plots, patterns, variants) for name, _, _, patterns in EXPORTS}
    most_bytes = min(LARGEST_BYTES, MOST_BYTES // max(1, sum(map(len, chosen.values()))))
    return [
        {
            "name": name,
            "heading": heading,
            "text": text,
            "pictures": [_encode(path, most_bytes, variant, classes) for path, variant in chosen[name]],
            "folders": list(dict.fromkeys(pattern.partition("/")[0] for pattern in patterns)),
            "n_all": sum(len(list_pictures(plots, pattern)) for pattern, _, _ in _fill_in(patterns, variants)),
        }
        for name, heading, text, patterns in EXPORTS
        if chosen[name]
    ]


def _choose_pictures(plots: Path, patterns: Mapping[str, int], variants: Sequence[str]) -> list[tuple[Path, str]]:
    """(picture, its variant or "")."""
    return [
        (path, name)
        for pattern, n, name in _fill_in(patterns, variants)
        for path in choose_pictures(plots, pattern, n=n)
    ]


def _fill_in(patterns: Mapping[str, int], variants: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """(pattern, how many, its variant or ""), for each variant where a pattern names one."""
    for pattern, n in patterns.items():
        for name in variants if "{variant}" in pattern else ("",):
            yield pattern.format(variant=name), n, name


def collect_sheets(plots: Path, classes: Classes) -> list[Picture]:
    """Collect the contact sheets of the training images, of near-copies and of suspect labels, if they are there."""
    names = {f"data/train_{label}.png": f"{pluralise(label)} to learn from" for label in classes}
    names["data/near_duplicates.png"] = "near-copies, a group in each row"
    names["labels/suspects.png"] = "labels that look most wrong, with the evidence for both classes"
    there = {plots / path: name for path, name in names.items() if (plots / path).is_file()}
    return [encode_picture(path, most_bytes=LARGEST_BYTES, name=name) for path, name in there.items()]


def _encode(path: Path, most_bytes: int, variant: str, classes: Classes) -> Picture:
    return encode_picture(path, most_bytes=most_bytes, name=name_picture(path, variant, classes), variant=variant)
