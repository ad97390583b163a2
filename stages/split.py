"""Split: reads, checks, groups and assigns the source's images, and writes data/images with its manifest."""

import argparse
import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cvd.data.archives.reading import Member
from cvd.data.images.manifest import LABELS, read_manifest, read_quarantine, write_manifest, write_quarantine
from cvd.data.intake.placement import place_images
from cvd.data.intake.summary import summarise_data, write_sheets
from cvd.runtime.files import replace_file, replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import run_stage
from cvd.runtime.threads import count_cores


def main() -> None:
    """Parses the paths and runs the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, required=True, help="zip of the download stage")
    parser.add_argument("--images", type=Path, required=True, help="folder to write: {split}/{class}/*.jpg")
    parser.add_argument("--manifest", type=Path, required=True, help="CSV to write: every image that can be used")
    parser.add_argument("--quarantine", type=Path, required=True, help="CSV to write: every file that cannot, and why")
    parser.add_argument("--masks", type=Path, required=True, help="zip to write: masks of drawn images")
    parser.add_argument("--summary", type=Path, help="JSON to write: counts")
    parser.add_argument("--sheets", type=Path, help="folder to write: contact sheets")
    args = parser.parse_args()
    run_stage(lambda: split(args), "split")


def split(args: argparse.Namespace) -> None:
    """The stage's work; its outputs appear together, at the end: the images first, what lists them last."""
    sizes = load_params().split
    with ExitStack() as stack:  # which publishes in the opposite order
        summary_path = stack.enter_context(replace_file(args.summary)) if args.summary else None
        manifest_path = stack.enter_context(replace_file(args.manifest))
        quarantine_path = stack.enter_context(replace_file(args.quarantine))
        sheets = stack.enter_context(replace_folder(args.sheets)) if args.sheets else None
        masks = stack.enter_context(replace_file(args.masks))
        images = stack.enter_context(replace_folder(args.images))
        placement = place_images(
            args.archive,
            images,
            masks,
            train=sizes.train,
            validation=sizes.validation,
            test=sizes.test,
            seed=sizes.seed,
            threads=min(8, count_cores()),
            progress=show_progress,
        )
        write_manifest(placement.rows, manifest_path)
        write_quarantine(placement.quarantine, quarantine_path)
        manifest = read_manifest(manifest_path)
        summary = summarise_data(manifest, read_quarantine(quarantine_path), n_masks=placement.n_masks)
        if summary_path:
            summary_path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        if sheets:
            write_sheets(images, manifest, sheets)
    report(summary)


def show_progress(members: Iterable[Member], n: int, description: str) -> Iterable[Member]:
    """A bar with rate and time left."""
    return tqdm(members, total=n, desc=description, unit="file")


def report(summary: dict[str, Any]) -> None:
    """Prints what became of the source in a few lines."""
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
