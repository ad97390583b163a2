"""Split: read, check, group and assign the source's images, and write data/images with its manifest."""

from argparse import Namespace
from functools import partial

from tqdm import tqdm

from cvd.data.intake.placement import split_archive
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.vocabulary import pluralise

PATHS = ("archive", "corrections", "images", "checksums", "manifest", "quarantine", "masks", "summary", "sheets")


def main() -> None:
    args = read_arguments(__doc__, paths=PATHS)
    run_stage(lambda: split(args), "split")


def split(args: Namespace) -> None:
    params = load_params()
    shortcut = params.data.drawn.shortcut if params.data.source == "drawn" else 0.0
    options = params.split.model_dump() | {"classes": params.data.choose_classes(), "shortcut": shortcut}
    summary = split_archive(**vars(args), **options, progress=partial(tqdm, unit="file", disable=None))
    for name, counts in summary["splits"].items():
        print(f"{name:>10}: " + ", ".join(f"{n:,} {pluralise(label)}" for label, n in counts.items()))
    if summary["quarantined"]:
        print("quarantine: " + ", ".join(f"{n:,} {reason}" for reason, n in summary["reasons"].items()))
    if decided := summary.get("corrections"):
        print("data/corrections.csv: " + ", ".join(f"{n:,} {what}" for what, n in decided.items()))
    if planted := summary.get("planted"):
        print(f"planted on purpose: {sum(planted.values()):,} exchanged training labels")
    if n_marked := summary["normalised"].get("watermark"):
        print(f"planted on purpose: a watermark on {n_marked:,} training images of the second class")
    near = summary["near_duplicates"]
    if near["groups"]:
        n_leaked = near.get("leaked")
        end = f": {n_leaked:,} of validation and test have one in train" if n_leaked else ", each kept within one split"
        print(f"near-duplicates: {near['images']:,} images in {near['groups']:,} groups{end}")
    if near["of_both_classes"]:
        print(f"groups in which images of the same photo are of both classes: {near['of_both_classes']:,}")
    if near["left_out"]:
        print(f"left out because their group did not fit into its split: {near['left_out']:,}")


if __name__ == "__main__":
    main()
