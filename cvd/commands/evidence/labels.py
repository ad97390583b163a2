"""`cvd labels`: labels that look wrong, and what people decide about them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cvd.data.faults.corrections import DROP, RELABEL, read_corrections, write_corrections
from cvd.data.images.manifest import read_manifest
from cvd.labels.tables import SUSPECT, read_labels
from cvd.runtime.errors import InputError
from cvd.runtime.project import find_root
from cvd.runtime.vocabulary import Classes, name_classes

CORRECTIONS = "data/corrections.csv"
ACCEPT = "accept"  # beside RELABEL and DROP, which the file knows
Decisions = dict[str, tuple[str | None, str]]  # by hash: a class, or None to drop; and why


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd labels`."""
    parser.add_argument("-n", type=int, default=30, metavar="N", help="list so many, the most suspicious first")
    accepted = (
        "write what the answers say of these images: paths as listed, names in the source, or a CSV of such lines"
    )
    parser.add_argument("--accept", nargs="+", default=[], metavar="FILE", help=accepted)
    relabelled = "write that these images are of the other class, whatever the answers say"
    parser.add_argument("--relabel", nargs="+", default=[], metavar="FILE", help=relabelled)
    dropped = "write that these images are not used: a logo, both animals"
    parser.add_argument("--drop", nargs="+", default=[], metavar="FILE", help=dropped)
    parser.add_argument("--why", default="", help="a note for these lines")


def review_labels(args: argparse.Namespace) -> int:
    """List suspects, or write decisions about images.

    Raises:
        InputError: there are no answers yet, or an image is unknown, or its label is as the answer says.
    """
    root = find_root()
    labels = read_labels(root / "predictions/labels.csv")
    asked = {name: getattr(args, name) for name in (ACCEPT, RELABEL, DROP)}
    if not any(asked.values()):
        n_suspects, classes = int((labels["verdict"] == SUSPECT).sum()), name_classes(labels["path"], labels["label"])
        print(render_labels(labels.head(max(args.n, 1)), n_suspects=n_suspects, classes=classes))
        return 0
    manifest = read_manifest(root / "data/manifest.csv")
    table = manifest.merge(labels[["path", "probability"]], on="path")
    decisions: Decisions = {}
    for action, files in asked.items():
        decisions |= decide(table, files, action, why=args.why)
    write_corrections(root / CORRECTIONS, decisions)
    advice = "`dvc repro` applies it; as an experiment: `dvc exp run -n corrected`, then `cvd compare HEAD corrected`"
    print(f"{CORRECTIONS}: {len(decisions)} written; {advice}")
    return 0


def render_labels(worst: pd.DataFrame, *, n_suspects: int, classes: Classes) -> str:
    """Render the most suspicious labels as lines."""
    lines = [f"{n_suspects:,} labels are suspect; the most suspicious first:"]
    width = max(map(len, ("answer", *classes)))
    lines.append(f"{'label':{width}} {'answer':{width}}    sure  verdict    path")
    for path, label, probability, _, verdict in worst.to_numpy().tolist():
        answer = int(probability > 0.5)
        share = probability if answer else 1 - probability
        lines.append(f"{classes[label]:{width}} {classes[answer]:{width}} {share:7.1%}  {verdict:9}  {path}")
    return "\n".join(lines)


def decide(table: pd.DataFrame, files: Sequence[str], action: str, *, why: str) -> Decisions:
    """Turn files into decisions: ACCEPT the answer, RELABEL as the other class, or DROP; a CSV has its own.

    `table` has the manifest's columns and `probability`, of the second class.

    Raises:
        InputError: an image is unknown or ambiguous, bears a planted watermark, or has the label of its answer.
    """
    decisions: Decisions = {}
    classes = name_classes(table["path"], table["label"])
    for file in files:
        if file.lower().endswith(".csv"):
            rows = read_corrections(file, classes)
            decisions |= {row.sha256: (None if action == DROP else row.label, row.why) for row in rows}
            continue
        row = table.iloc[_find_image(table, file)].to_dict()
        answer, label = int(row["probability"] > 0.5), int(row["label"])
        if "watermark" in str(row["normalised"]).split():
            raise InputError(
                f"{file} bears a planted watermark: set data.drawn.shortcut to 0 and run `dvc repro` first"
            )
        if answer == label and action == ACCEPT:
            fault = f"{file} is called {classes[label]}, and so says the answer"
            raise InputError(f"{fault}: `--{RELABEL}` gives it the other label, `--{DROP}` leaves it out")
        sure = row["probability"] if answer else 1 - row["probability"]
        done = "dropped" if action == DROP else "relabelled"
        note = why or f"{done} by cvd labels: answer {classes[answer]} {sure:.1%}"
        decisions[str(row["sha256"])] = (None if action == DROP else classes[1 - label], note)
    return decisions


def _find_image(table: pd.DataFrame, file: str) -> int:
    """Find an image by its path in the manifest, also below data/images, or by its name in the source."""
    given = Path(file).as_posix()
    is_it = (table["path"] == given) | (table["source_name"] == file) | table["path"].map(
        lambda path: given.endswith(f"data/images/{path}")
    )  # fmt: skip
    places = np.flatnonzero(is_it)
    if len(places) != 1:
        some = ", ".join(table["path"].head(2))
        known = "is several images" if len(places) else "is no image of data/manifest.csv"
        raise InputError(f"{file!r} {known}: give a path as `cvd labels` lists it, such as {some}")
    return int(places[0])
