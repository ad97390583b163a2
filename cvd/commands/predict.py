"""`cvd predict`: which class, for photos, and folders and zips of them."""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

from cvd.commands.networks import choose_variant, find_probability, load_model, predict_logits
from cvd.commands.submission import add_options_of_submission, check_submission, write_submission
from cvd.data.intake.photos import find_photos, show_path
from cvd.runtime.errors import disarm_cell
from cvd.runtime.project import find_root, read_classes
from cvd.runtime.vocabulary import Classes


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd predict`."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR|ZIP")
    parser.add_argument("--variant", help="default: the one with the best validation accuracy in metrics/")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="a JSON array of objects")
    columns = "path,label,probability (of the second class),logit"
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help=columns)
    add_options_of_submission(parser, form)
    parser.set_defaults(form="text")


def predict_photos(args: argparse.Namespace) -> int:
    """Predict photo after photo, in order, with few in memory at a time; 1 where photos were skipped."""
    check_submission(args)
    with find_photos(args.photos) as found:
        if args.submission:
            return write_submission(args, found)
        model, classes = load_model(args.variant or choose_variant()), read_classes(find_root())
        n_faults = 0
        # A bar would run through rows that appear on a terminal, and they show the progress themselves.
        batches = predict_logits(model, found, has_bar=not sys.stdout.isatty())
        with open_writer(args.form, classes) as write:
            for batch in batches:
                for path, logit in batch:
                    if logit is None:
                        n_faults += 1
                    else:
                        write(path, classes[int(logit > 0)], find_probability(logit), logit)
                sys.stdout.flush()
    return 1 if n_faults else 0


@contextlib.contextmanager
def open_writer(form: str, classes: Classes) -> Iterator[Callable[[Path, str, float, float], None]]:
    """Yield a function that writes a photo's path, label, probability of the second class and logit to stdout."""
    names = ("path", "label", "probability", "logit")
    if form == "csv":
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(names)
        yield lambda path, *others: table.writerow((disarm_cell(str(path)), *others))
    elif form == "json":
        commas = chain([""], repeat(","))
        print("[", end="")
        yield lambda *values: print(
            next(commas), json.dumps(dict(zip(names, values, strict=True)), default=str), sep="\n", end=""
        )
        print("\n]")  # not after an early end, so that nobody takes a part for the whole
    else:
        width, head = max(map(len, ("label", *classes))), f"P({classes[1]})"
        print(f"{'label':{width}}  {head}    logit  path")
        yield lambda path, label, probability, logit: print(
            f"{label:{width}}  {probability:{len(head)}.4f}  {logit:+7.2f}  {show_path(path)}"
        )
    sys.stdout.flush()
