"""The project's trained networks, for commands that use one."""

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from cvd.errors import InputError
from cvd.tracking import find_root

if TYPE_CHECKING:
    import keras


def choose_variant() -> str:
    """The variant with the best validation accuracy, of those with a model; says which on stderr.

    Raises:
        InputError: there is none.
    """
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
    path = find_root() / "models" / f"{variant}.keras"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*.keras"))) or "none yet: run `dvc repro`"
        raise InputError(f"variant {variant!r} has no model {path}: there are {known}")
    import keras

    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"model {path} cannot be loaded: {str(error).splitlines()[0]}") from error
