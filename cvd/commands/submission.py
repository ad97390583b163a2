"""`cvd predict --submission`: answers to the competition's own test set, as Kaggle takes them."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from cvd.commands.networks import choose_variant, find_probability, load_model, predict_logits
from cvd.data.intake.photos import Found, show_path
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.project import find_root, read_classes

N_IDS = 12_500
# Log loss, the measure of the newer competition, is infinite for a wrong answer without doubt. With this one costs 6.9.
LEAST = 0.001
_ID = re.compile(r"[0-9]{1,9}")


def add_options_of_submission(parser: argparse.ArgumentParser, form: Any) -> None:
    """Declare the options; `form` is the group of the kinds of output, of which one is chosen."""
    columns = (
        f"id,label (the second class's probability, {LEAST} to {1 - LEAST}), for photos named by ids, such as 12.jpg"
    )
    form.add_argument("--submission", type=Path, metavar="FILE", help=f"write {columns}")
    labels = "of a submission: 0 or 1 for the second class, as Kaggle's first competition of this kind counts them"
    parser.add_argument("--labels", action="store_true", help=labels)
    parser.add_argument("--ids", type=int, metavar="N", help=f"of a submission: ids go from 1 to N (default: {N_IDS})")
    fill = "of a submission: the probability for photos that are missing or cannot be read"
    parser.add_argument("--fill", type=float, metavar="P", help=fill)


def check_submission(args: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        InputError: one is out of range, needs --submission, or the file is a folder.
    """
    if not args.submission and (args.labels or args.ids is not None or args.fill is not None):
        raise InputError("--labels, --ids and --fill belong to a submission: give --submission FILE too")
    if args.ids is not None and args.ids < 1:
        raise InputError(f"--ids is {args.ids}: give the number of photos in the test set, at least 1")
    if args.fill is not None and not 0 <= args.fill <= 1:
        raise InputError(f"--fill is {args.fill}: give a probability, 0 to 1")
    if args.submission and args.submission.is_dir():
        raise InputError(f"--submission is {show_path(args.submission)}, a folder: give the path of a file")


def write_submission(args: argparse.Namespace, found: Found) -> int:
    """Write the answers by id, whole or not at all; 1 where photos could not be read.

    Raises:
        InputError: an id is there twice, is too high or, without `--fill`, has no photo that can be read.
    """
    photos, n_ids = number_photos(found.paths), args.ids or N_IDS
    if high := [path for number, path in photos.items() if not 1 <= number <= n_ids]:
        raise InputError(f"{show_path(high[0])} has no id from 1 to {n_ids}: --ids says how many there are")
    if args.fill is None:
        _check_all(photos, n_ids, "there")
    variant = args.variant or choose_variant()
    model = load_model(variant)
    with replace_file(args.submission) as partial:
        partial.touch()  # fails before the work, not after it
        chosen = Found([photos[number] for number in sorted(photos)], found.members)
        logits = dict(chain.from_iterable(predict_logits(model, chosen, has_bar=True)))
        answers = {
            number: find_probability(logit) for number, path in photos.items() if (logit := logits[path]) is not None
        }
        if args.fill is None:
            _check_all(answers, n_ids, "readable")
        whole = [answers.get(number, args.fill) for number in range(1, n_ids + 1)]
        labels = [str(int(p > 0.5)) if args.labels else f"{min(max(p, LEAST), 1 - LEAST):.6f}" for p in whole]
        rows = (f"{number},{label}\n" for number, label in enumerate(labels, 1))
        partial.write_text("".join(["id,label\n", *rows]), encoding="utf-8")
    filled = f", {n_ids - len(answers):,} of them filled with {args.fill}" if len(answers) < n_ids else ""
    kind = (
        "0 or 1"
        if args.labels
        else f"probabilities of {read_classes(find_root())[1]}, kept within {LEAST} and {1 - LEAST} for log loss"
    )
    print(f"{show_path(args.submission)}: {n_ids:,} answers of {variant}{filled}: {kind}")
    return 1 if len(answers) < len(photos) else 0


def number_photos(paths: Iterable[Path]) -> dict[int, Path]:
    """Map ids to photos; say on stderr which photos have none.

    Raises:
        InputError: two photos have the same id.
    """
    photos: dict[int, Path] = {}
    others = []
    for path in paths:
        if not _ID.fullmatch(path.stem) or path.suffix.lower() == ".zip":
            others.append(path)
        elif (other := photos.setdefault(int(path.stem), path)) is not path:
            raise InputError(f"id {int(path.stem)} is there twice: {show_path(other)} and {show_path(path)}")
    closed = [path for path in others if path.suffix.lower() == ".zip"]
    if others:
        example = show_path((closed or others)[0])
        why = "a zip that cannot be opened" if closed else "whose name is no number"
        print(f"left out {len(others):,} of {len(others) + len(photos):,} files: {example}, {why}", file=sys.stderr)
    return photos


def _check_all(numbers: Iterable[int], n_ids: int, state: str) -> None:
    present = set(numbers)
    absent = [number for number in range(1, n_ids + 1) if number not in present]
    if absent:
        fault = f"{len(present):,} of {n_ids:,} photos are {state}, not {_list_ranges(absent)}"
        advice = "give all, --fill 0.5 to answer so for those, or --ids where the test set has another number"
        raise InputError(f"no submission was written: {fault}: {advice}")


def _list_ranges(numbers: Sequence[int], most: int = 8) -> str:
    """List rising numbers as `3, 7 to 9`, at most so many parts of them."""
    starts = [number for i, number in enumerate(numbers) if i == 0 or numbers[i - 1] < number - 1]
    ends = [number for i, number in enumerate(numbers) if i == len(numbers) - 1 or numbers[i + 1] > number + 1]
    parts = [str(a) if a == b else f"{a} to {b}" for a, b in zip(starts, ends, strict=True)]
    rest = [f"and {len(parts) - most} more gaps"] if len(parts) > most else []
    return ", ".join([*parts[:most], *rest])
