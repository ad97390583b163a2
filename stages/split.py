"""Split: read, check, group and assign the source's images, and write data/images with its manifest."""

from argparse import Namespace
from functools import partial

from tqdm import tqdm

from cvd.data.intake.placement import split_archive
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.vocabulary import LABELS

PATHS = ("archive", "images", "checksums", "manifest", "quarantine", "masks", "summary", "sheets")


def main() -> None:
    args = read_arguments(__doc__, paths=PATHS)
    run_stage(lambda: split(args), "split")


def split(args: Namespace) -> None:
    sizes = load_params().split.model_dump()
    summary = split_archive(**vars(args), **sizes, progress=partial(tqdm, unit="file"))
    for name, counts in summary["splits"].items():
        print(f"{name:>10}: " + ", ".join(f"{counts[label]:,} {label}s" for label in LABELS))
    if summary["quarantined"]:
        print("quarantine: " + ", ".join(f"{n:,} {reason}" for reason, n in summary["reasons"].items()))
    near = summary["near_duplicates"]
    if near["groups"]:
        print(f"near-duplicates: {near['images']:,} images in {near['groups']:,} groups, each kept within one split")
    if near["of_both_classes"]:
        print(f"groups in which images of the same photo are called cat and dog: {near['of_both_classes']:,}")
    if near["left_out"]:
        print(f"left out because their group did not fit into its split: {near['left_out']:,}")


if __name__ == "__main__":
    main()
