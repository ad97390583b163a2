"""`cvd`: a trained model on photos of your own, and MLflow completed from files."""

import argparse
import contextlib
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.errors import InputError
from cvd.photos import find_photos, name_photos, read_photos, report_faults, take_batches
from cvd.stage import silence_tensorflow

if TYPE_CHECKING:
    import keras


def main(arguments: Sequence[str] | None = None) -> None:
    """Ends the process: 0, 1 when photos were skipped or MLflow is out of reach, 2 for bad input."""
    args = parse_arguments(arguments)
    silence_tensorflow()
    try:
        code = args.work(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `cvd predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed; `work` is the command's function."""
    parser = argparse.ArgumentParser(prog="cvd", description="Cats, dogs, and what networks see in them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="cat or dog: photos or folders of them")
    predict.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR")
    predict.add_argument("--variant", help="default: the one with the best validation accuracy in metrics/")
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="a JSON array of objects")
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="path,label,probability,logit")
    predict.set_defaults(work=predict_photos, form="text")

    explain = commands.add_parser("explain", help="Grad-CAM: where a variant finds cat and dog in photos")
    explain.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR")
    explain.add_argument("--variant", required=True)
    explain.add_argument("--layer", action="append", help="may be repeated; default: an early and the last convolution")
    explain.add_argument("--out", type=Path, default=Path("explained"), help="folder of the pictures (%(default)s)")
    explain.set_defaults(work=explain_photos)

    sync = commands.add_parser("sync", help="bring results that MLflow lacks (restored, pulled, unsent) into it")
    sync.set_defaults(work=sync_results)

    runs = commands.add_parser("runs", help="MLflow's runs of an experiment, or all")
    runs.add_argument("experiment", nargs="?", help="DVC's name of it, as in `dvc exp show`, or workspace")
    runs.add_argument("--page", action="store_true", help="only the page in MLflow's UI that shows them")
    runs.set_defaults(work=print_runs)
    return parser.parse_args(arguments)


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


def explain_photos(args: argparse.Namespace) -> int:
    """Writes a sheet for each photo: heat for dog and for cat, in each layer."""
    import numpy as np
    from scipy.special import expit

    from cvd.data.decode import resize_image
    from cvd.data.manifest import LABELS
    from cvd.files import replace_file
    from cvd.vis.drawing import write_png
    from cvd.vis.gradcam import combine_evidence, take_gradients
    from cvd.vis.layers import choose_grad_cam_layers
    from cvd.vis.overlays import Heat, Row, draw_comparison, limit_size

    paths = find_photos(args.photos)
    names = name_photos(paths, args.photos)
    model = load_model(args.variant)
    layers = choose_grad_cam_layers(model, args.layer)
    n_faults = 0
    for photo in read_photos(paths):
        n_faults += report_faults([photo])
        if photo.pixels is None:
            continue
        image = resize_image(photo.pixels, model.input_shape[1])
        logits, evidence = take_gradients(model, image[np.newaxis], layers=layers)
        logit = float(logits[0, 0])
        heats = [
            Heat(label, layer, combine_evidence(evidence[layer], sign=sign)[0])
            for layer in layers
            for label, sign in zip(LABELS, (-1, 1), strict=True)
        ]
        says = [f"P(dog) {expit(logit):.3f}", f"says {LABELS[int(logit > 0)]}"]
        rows = [Row(args.variant, says, heats)]
        caption = "Grad-CAM: where a layer's features speak for cat, and for dog"
        sheet = draw_comparison(limit_size(photo.pixels), rows, title=photo.path.name, caption=caption)
        target = args.out / f"{names[photo.path]}.{args.variant}.png"
        with replace_file(target) as partial:
            write_png(sheet, partial)
        print(f"{photo.path}: {', '.join(says)}: {target}")
    return 1 if n_faults else 0


def sync_results(_: argparse.Namespace) -> int:
    """Completes MLflow from the project's files."""
    from cvd.params import load_params
    from cvd.tracking import find_root, store_uri, sync_workspace

    with contextlib.chdir(find_root()):
        lines = sync_workspace(load_params().model_dump(mode="json"))
        place = store_uri()
    if lines is None:
        return 1
    print(*(lines or [f"MLflow at {place} has everything that is here"]), sep="\n")
    return 0


def print_runs(args: argparse.Namespace) -> int:
    """Prints a table of runs and the page that shows them in MLflow's UI.

    Raises:
        InputError: there is no such experiment, or it has no runs.
    """
    from cvd.tracking import find_root, list_runs, store_uri

    with contextlib.chdir(find_root()):
        listing = list_runs(args.experiment)
        server = store_uri().rstrip("/")
    if listing is None:
        return 1
    if args.experiment and not listing.rows:
        if args.experiment in listing.experiments:
            hint = f"`dvc exp apply {args.experiment}`, then `cvd sync`"
            raise InputError(f"experiment {args.experiment} has no runs in MLflow: {hint}")
        known = ", ".join(listing.experiments) or "none yet"
        raise InputError(f"experiment {args.experiment!r} is not known: there are {known}")
    address = server if server.startswith("http") else "`make ui`, then http://127.0.0.1:5000"
    print(listing.page if args.page else f"{listing.format_table()}\n\nTheir curves: {address}{listing.page}")
    return 0


def choose_variant() -> str:
    """The variant with the best validation accuracy, of those with a model; says which on stderr.

    Raises:
        InputError: there is none.
    """
    from cvd.tracking import find_root

    accuracies = {}
    for path in sorted((find_root() / "models").glob("*.keras")):
        metrics = find_root() / "metrics" / f"{path.stem}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            accuracies[path.stem] = float(json.loads(metrics.read_text(encoding="utf-8"))["validation"]["accuracy"])
    if not accuracies:
        raise InputError(
            "no model with metrics in models/ and metrics/: run `dvc repro` or `dvc pull`, or give --variant"
        )
    best = max(accuracies, key=lambda name: accuracies[name])
    print(
        f"variant {best}: the best validation accuracy, {accuracies[best]:.4f}, of {len(accuracies)}", file=sys.stderr
    )
    return best


def load_model(variant: str) -> "keras.Model":
    """models/VARIANT.keras of the project.

    Raises:
        InputError: there is no such file, or Keras cannot read it.
    """
    from cvd.tracking import find_root

    path = find_root() / "models" / f"{variant}.keras"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*.keras"))) or "none yet: run `dvc repro`"
        raise InputError(f"variant {variant!r} has no model {path}: there are {known}")
    import keras

    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"model {path} cannot be loaded: {str(error).splitlines()[0]}") from error


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


if __name__ == "__main__":
    main()
