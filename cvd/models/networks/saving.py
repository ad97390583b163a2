"""Keras models, and their weights at epochs of the training, as files: the same bytes whenever the same is saved."""

import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file

# The earliest date that a zip can hold; Keras writes the clock's there and in `date_saved`.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
SAVED_DATE = "1980-01-01@00:00:00"
EPOCHS = "epochs"  # the member that lists them


def save_model(model: keras.Model, path: str | Path) -> None:
    """Write a model as a canonical `.keras` file, whole or not at all; `keras.models.load_model` reads it.

    The saved model, of stock layers, computes in float32. It has no optimizer, loss or metrics, nor (in Keras 3.15) the
    state of dropout's seeds. Equal models give equal bytes if their layers are named by hand: automatic names count up.

    Raises:
        ValueError: `path` does not end in `.keras`.
    """
    if Path(path).suffix != ".keras":
        raise ValueError(f"a model's path must end in .keras, not {str(path)!r}")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "model.keras"
        _strip_training(convert_to_float32(model)).save(plain)
        canonical = _make_canonical(plain)
    with replace_file(path) as partial:
        partial.write_bytes(canonical)


def load_network(path: str | Path) -> keras.Model:
    """Load models/VARIANT.keras or backbone.keras, without compiling it.

    Raises:
        InputError: the file is missing, damaged, or no network.
    """
    path = Path(path)
    stage = "backbone" if path.stem == "backbone" else f"train@{path.stem}"
    if not path.is_file():
        raise InputError(f"model {path} does not exist: run `dvc repro {stage}` or `dvc pull`")
    try:
        model = keras.models.load_model(path, compile=False)
        if not model.input_shape or not model.output_shape:
            raise ValueError("it has no inputs or no outputs")
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # what Keras, zipfile and HDF5 raise on a damaged file is nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        advice = f"make it again with `dvc repro {stage}`, or run `dvc checkout`"
        raise InputError(f"model {path} cannot be loaded: {reason}; {advice}") from error
    return model


def convert_to_float32(model: keras.Model) -> keras.Model:
    """Copy a network with all its layers computing in float32; the model itself if they do already."""
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    plain = _strip_training(model)
    converted = keras.Model.from_config(_replace_dtypes(plain.get_config()))
    converted.set_weights(plain.get_weights())
    return converted


def _strip_training(model: keras.Model) -> keras.Model:
    """Make a model of the same layers, never compiled."""
    inputs, outputs = model.inputs, model.outputs
    return keras.Model(
        inputs[0] if len(inputs) == 1 else inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name
    )


def _replace_dtypes(config: Any) -> Any:
    """Replace every half precision in a configuration by float32."""
    if isinstance(config, dict):
        return {key: _replace_dtypes(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_replace_dtypes(value) for value in config)
    return "float32" if config in ("bfloat16", "float16", "mixed_bfloat16", "mixed_float16") else config


def _make_canonical(path: Path) -> bytes:
    """Rewrite a `.keras` file with its members in order of name and without dates and memory addresses."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": SAVED_DATE}).encode()
            elif name == "config.json":
                data = json.dumps(_number_shared_objects(json.loads(data), {})).encode()
            member = zipfile.ZipInfo(name, ZIP_DATE)
            member.external_attr = 0o644 << 16
            target.writestr(member, data)
    return buffer.getvalue()


def _number_shared_objects(config: Any, numbers: dict[int, int]) -> Any:
    """Replace `shared_object_id`, Python's `id()` in Keras 3.15, by 1, 2, 3 in order of first appearance."""
    if isinstance(config, dict):
        return {
            key: numbers.setdefault(value, len(numbers) + 1)
            if key == "shared_object_id"
            else _number_shared_objects(value, numbers)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [_number_shared_objects(value, numbers) for value in config]
    return config


def write_checkpoints(
    path: Path, epochs: Sequence[int], weights: Iterable[Sequence[np.ndarray]], *, final: Sequence[np.ndarray]
) -> None:
    """Write the weights of epochs (1-based), each in the order of `final`; equal ones give equal bytes, in a `.npz`."""
    with replace_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        _write_array(archive, EPOCHS, np.array(epochs, np.int64))
        for epoch, arrays in zip(epochs, weights, strict=True):
            for number, (array, last) in enumerate(zip(arrays, final, strict=True)):
                if not np.array_equal(array, last):
                    _write_array(archive, f"{epoch}/{number}", np.asarray(array))


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:  # its date is always the same
        np.lib.format.write_array(file, array, allow_pickle=False)


def restore_checkpoints(path: Path, model: keras.Model) -> Iterator[int]:
    """Put the weights of each epoch into the finished network, in turn, and yield the epoch's number.

    Raises:
        InputError: the file is missing, damaged, or of another network.
    """
    final = model.get_weights()
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            for epoch in file[EPOCHS]:
                model.set_weights(
                    [file[name] if (name := f"{epoch}/{i}") in file else last for i, last in enumerate(final)]
                )
                yield int(epoch)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        advice = f"make them again with `dvc repro -f train@{path.name.split('.')[0]}`"
        raise InputError(f"checkpoints {path} cannot be read ({error}): {advice}") from error
