"""The project's trained networks, for commands that use one."""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.runtime.errors import InputError
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import keras


def models_folder() -> Path:
    """models/ of the project."""
    from cvd.tracking import find_root

    return find_root() / "models"


def read_accuracy(variant: str, split: str) -> float | None:
    """A variant's accuracy on a split, as metrics/VARIANT.json has it; None where there is none."""
    path = models_folder().parent / "metrics" / f"{variant}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads(path.read_text(encoding="utf-8"))[split]["accuracy"])
    return None


def list_variants() -> list[str]:
    """The variants with a model, in params.yaml's order; those that it does not name come last, by name."""
    from cvd.runtime.params.loading import load_params

    order: list[str] = []
    with contextlib.suppress(InputError):  # a file that is just being edited must not keep networks from being used
        order = list(load_params(models_folder().parent / "params.yaml").variants)
    names = sorted(path.stem for path in models_folder().glob("*.keras"))
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def choose_variant() -> str:
    """The variant with the best validation accuracy, of those with a model; says which on stderr.

    Raises:
        InputError: there is none.
    """
    names = sorted(path.stem for path in models_folder().glob("*.keras"))
    accuracies = {name: found for name in names if (found := read_accuracy(name, "validation")) is not None}
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
    """models/VARIANT.keras of the project: square RGB images to one logit.

    Raises:
        InputError: there is no such file, Keras cannot read it, or it takes or gives something else.
    """
    path = models_folder() / f"{variant}.keras"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*.keras"))) or "none yet: run `dvc repro`"
        raise InputError(f"variant {variant!r} has no model {path}: there are {known}")
    start_tensorflow()
    import keras

    again = f"make it again with `dvc repro train@{variant}` or `dvc checkout`"
    try:
        model = keras.models.load_model(path, compile=False)
        shapes = model.input_shape, model.output_shape
    except Exception as error:  # what Keras, zipfile and HDF5 raise on a damaged file is nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(f"model {path} cannot be loaded: {reason}; {again}") from error
    side_px = shapes[0][1] if len(shapes[0]) == 4 else None
    if side_px is None or shapes != ((None, side_px, side_px, 3), (None, 1)):
        raise InputError(f"model {path} maps {shapes[0]} to {shapes[1]}, not square RGB images to one logit; {again}")
    return model
