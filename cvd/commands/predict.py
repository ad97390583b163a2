"""`cvd predict`: cat or dog, for photos and folders of them."""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cvd.commands.networks import choose_variant, load_model
from cvd.photos import find_photos, read_photos, report_faults, take_batches


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be typed after `cvd predict`."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR")
    parser.add_argument("--variant", help="default: the one with the best validation accuracy in metrics/")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="a JSON array of objects")
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="path,label,probability,logit")
    parser.set_defaults(form="text")


def predict_photos(args: argparse.Namespace) -> int:
    """Predicts photo after photo; folders stream."""
    import numpy as np
    from scipy.special import expit

    from cvd.data.decode import resize_image
    from cvd.data.manifest import LABELS

    paths = find_photos(args.photos)
    variant = args.variant or choose_variant()
    model = load_model(variant)
    n_faults = 0
    with open_writer(args.form) as write:
        for batch in take_batches(read_photos(paths)):
            good = [photo for photo in batch if photo.pixels is not None]
            n_faults += report_faults(batch)
            if not good:
                continue
            side_px = model.input_shape[1]
            images = np.stack([resize_image(photo.pixels, side_px) for photo in good if photo.pixels is not None])
            logits = np.asarray(model(images.astype(np.float32), training=False), np.float64).reshape(-1)
            for photo, logit in zip(good, logits, strict=True):
                write(str(photo.path), LABELS[int(logit > 0)], float(expit(logit)), float(logit))
    return 1 if n_faults else 0


@contextlib.contextmanager
def open_writer(form: str) -> Iterator[Callable[[str, str, float, float], None]]:
    """Yields what writes a photo's path, label, probability of dog and logit to stdout, at once."""
    names = ("path", "label", "probability", "logit")
    if form == "csv":
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(names)
        yield lambda *values: table.writerow(values)
    elif form == "json":
        n_written = 0

        def write(*values: object) -> None:
            nonlocal n_written
            print("," if n_written else "", json.dumps(dict(zip(names, values, strict=True))), sep="\n", end="")
            n_written += 1

        print("[", end="")
        yield write
        print("\n]")
    else:
        print("label  probability    logit  path")
        yield lambda path, label, probability, logit: print(f"{label:5}  {probability:11.4f}  {logit:+7.2f}  {path}")
    sys.stdout.flush()
