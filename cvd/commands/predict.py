"""`cvd predict`: cat or dog, for photos and folders of them."""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

from cvd.commands.networks import choose_variant, load_model
from cvd.data.intake.photos import find_photos, read_photos, report_faults, show_path, take_batches
from cvd.runtime.vocabulary import LABELS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd predict`."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR")
    parser.add_argument("--variant", help="default: the one with the best validation accuracy in metrics/")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="a JSON array of objects")
    columns = "path,label,probability (of dog),logit"
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help=columns)
    parser.set_defaults(form="text")


def predict_photos(args: argparse.Namespace) -> int:
    """Predict photo after photo, in order, with few in memory at a time; 1 where photos were skipped."""
    paths = find_photos(args.photos)
    model = load_model(args.variant or choose_variant())

    import numpy as np
    from scipy.special import expit
    from tqdm import tqdm

    from cvd.data.images.pixels import limit_opencv_threads, resize_image
    from cvd.models.networks.prediction import BATCH_SIZE, make_predictor

    limit_opencv_threads()
    predict, side_px = make_predictor(model), model.input_shape[1]
    photos = read_photos(paths, prepare=lambda pixels: resize_image(pixels, side_px), n_ahead=64)
    n_faults = 0
    # A bar would run through rows that appear on a terminal, and they show the progress themselves.
    hidden = sys.stdout.isatty() or not sys.stderr.isatty()
    with open_writer(args.form) as write, tqdm(total=len(paths), unit="photo", disable=hidden) as bar:
        for batch in take_batches(photos, BATCH_SIZE):
            with bar.external_write_mode(file=sys.stderr):
                n_faults += report_faults(batch)
            good = [(photo.path, photo.pixels) for photo in batch if photo.pixels is not None]
            if good:
                logits = predict(np.stack([pixels for _, pixels in good])).astype(np.float64)
                for (path, _), logit, probability in zip(good, logits, expit(logits), strict=True):
                    write(path, LABELS[int(logit > 0)], float(probability), float(logit))
                sys.stdout.flush()
            bar.update(len(batch))
    return 1 if n_faults else 0


@contextlib.contextmanager
def open_writer(form: str) -> Iterator[Callable[[Path, str, float, float], None]]:
    """Yield a function that writes a photo's path, label, probability of dog and logit to stdout."""
    names = ("path", "label", "probability", "logit")
    if form == "csv":
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(names)
        yield lambda *values: table.writerow(values)
    elif form == "json":
        commas = chain([""], repeat(","))
        print("[", end="")
        yield lambda *values: print(
            next(commas), json.dumps(dict(zip(names, values, strict=True)), default=str), sep="\n", end=""
        )
        print("\n]")  # not after an early end, so that nobody takes a part for the whole
    else:
        print("label  P(dog)    logit  path")
        yield lambda path, label, probability, logit: print(
            f"{label:5}  {probability:6.4f}  {logit:+7.2f}  {show_path(path)}"
        )
    sys.stdout.flush()
