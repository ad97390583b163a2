"""The project's trained networks, for commands that use one."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.data.intake.photos import Found, read_photos, report_faults, take_batches
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json
from cvd.runtime.project import find_root
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import keras

    from cvd.vis.explaining.views import ClassViewer

N_CLASSES = 3  # of ImageNet's, that are shown for a photo


def list_models() -> dict[str, Path]:
    """List the models in models/ by variant, in order of name."""
    return {path.stem: path for path in sorted(find_root().glob("models/*.keras"), key=lambda path: path.stem)}


def list_variants() -> list[str]:
    """List the variants with a model, in params.yaml's order; those that it does not name come last, by name."""
    from cvd.runtime.params.loading import load_params

    with contextlib.suppress(InputError):  # networks can be used while somebody edits the file
        return order_names(list_models(), load_params(find_root() / "params.yaml").variants)
    return list(list_models())


def order_names(names: Iterable[str], first: Iterable[str]) -> list[str]:
    """Sort names: those of `first` in its order, then the others."""
    order = list(first)
    return sorted(sorted(names), key=lambda name: order.index(name) if name in order else len(order))


def read_accuracy(variant: str, split: str) -> float | None:
    """Read a variant's accuracy on a split from metrics/VARIANT.json; None where there is none."""
    with contextlib.suppress(InputError, OSError, ValueError, KeyError, TypeError):
        return float(read_json(find_root() / f"metrics/{variant}.json")[split]["accuracy"])
    return None


def choose_variant() -> str:
    """Choose the variant with the best validation accuracy, of those with a model; say which on stderr.

    Raises:
        InputError: there is none.
    """
    measured = {name: read_accuracy(name, "validation") for name in list_models()}
    accuracies = {name: accuracy for name, accuracy in measured.items() if accuracy is not None}
    if not accuracies:
        advice = "run `dvc repro` or `dvc pull`, or give --variant"
        raise InputError(f"no model with metrics in models/ and metrics/: {advice}")
    best = max(accuracies, key=lambda name: accuracies[name])
    accuracy = f"the best validation accuracy, {accuracies[best]:.4f}, of {len(accuracies)}"
    print(f"variant {best}: {accuracy}", file=sys.stderr)
    return best


def load_eyes(*, only_last: bool) -> "tuple[str, int, ClassViewer] | None":
    """Load what sees ImageNet's 1,000 classes: the backbone's name, its side in px, and what asks it about a photo.

    None where there is no backbone, or it was loaded without its classes. `only_last` explains by the last convolution.

    Raises:
        InputError: the backbone is damaged.
    """
    folder = find_root() / "models/backbone"
    if not folder.is_dir():
        return None
    start_tensorflow()
    from cvd.models.networks.backbone import class_names, describe_backbone, load_backbone
    from cvd.vis.explaining.layers import choose_grad_cam_layers
    from cvd.vis.explaining.views import ClassViewer

    backbone = describe_backbone(folder)
    if not backbone.has_classes:
        return None
    model = load_backbone(folder)
    layers = choose_grad_cam_layers(model, None)[-1:] if only_last else None
    return backbone.name, backbone.size_px, ClassViewer(model, class_names(), layers, method="auto")


def load_model(variant: str) -> "keras.Model":
    """Load models/VARIANT.keras of the project: square RGB images to one logit.

    Raises:
        InputError: there is no such file, Keras cannot read it, or it takes or gives something else.
    """
    models = list_models()
    if variant not in models:
        known = ", ".join(models) or "none yet: run `dvc repro`"
        raise InputError(f"variant {variant!r} has no model {find_root()}/models/{variant}.keras: there are {known}")
    start_tensorflow()
    from cvd.models.networks.saving import load_network

    model = load_network(models[variant])
    given, returned = model.input_shape, model.output_shape
    side_px = given[1] if len(given) == 4 else None
    if side_px is None or (given, returned) != ((None, side_px, side_px, 3), (None, 1)):
        fault = f"maps {given} to {returned}, not square RGB images to one logit"
        advice = f"make it again with `dvc repro train@{variant}` or `dvc checkout`"
        raise InputError(f"model {models[variant]} {fault}; {advice}")
    return model


def predict_logits(model: "keras.Model", found: Found, *, has_bar: bool) -> Iterator[list[tuple[Path, float | None]]]:
    """Yield photos with their logits, batch after batch in order; None for one that cannot be read, as stderr says.

    Few photos are in memory at a time. `has_bar` shows the progress on a terminal's stderr.
    """
    import numpy as np
    from tqdm import tqdm

    from cvd.data.images.pixels import limit_opencv_threads, resize_image
    from cvd.models.networks.prediction import BATCH_SIZE, make_predictor

    limit_opencv_threads()
    predict, side_px = make_predictor(model), model.input_shape[1]
    photos = read_photos(
        found.paths, members=found.members, prepare=lambda pixels: resize_image(pixels, side_px), n_ahead=64
    )
    with tqdm(total=len(found.paths), unit="photo", disable=not (has_bar and sys.stderr.isatty())) as bar:
        for batch in take_batches(photos, BATCH_SIZE):
            with bar.external_write_mode(file=sys.stderr):
                report_faults(batch)
            pixels = [photo.pixels for photo in batch if photo.pixels is not None]
            logits = iter(predict(np.stack(pixels)) if pixels else ())
            yield [(photo.path, None if photo.pixels is None else float(next(logits))) for photo in batch]
            bar.update(len(batch))


def find_probability(logit: float) -> float:
    """Find the second class's probability that a logit stands for."""
    from scipy.special import expit

    return float(expit(logit))
