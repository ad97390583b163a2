"""A saved network as a run's model, with signature and example, loadable by MLflow."""

import json
import shutil
import tempfile
import zipfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from cvd.runtime.files import hash_file
from cvd.tracking.records import MODEL_HASH, MODEL_MD5
from cvd.tracking.store import Store


def read_input_shape(model_path: str | Path) -> tuple[int, ...]:
    """Read the shape of one input of a saved model, without loading it: (150, 150, 3)."""
    with zipfile.ZipFile(model_path) as archive:
        config = json.loads(archive.read("config.json"))
    return tuple(config["config"]["layers"][0]["config"]["batch_shape"][1:])


def describe_interface(shape: tuple[int, ...]) -> dict[str, str]:
    """Say what a model takes and gives. A signature of MLflow names one type, and pyfunc refuses any other."""
    sizes = ", ".join(map(str, shape))
    return {
        "input": f"(n, {sizes}), pixels 0..255, RGB: float32 or uint8; by mlflow.pyfunc float32 only",
        "output": "(n, 1), float32, a logit: positive means dog",
    }


def log_model(store: Store, run_id: str, model_path: Path) -> None:
    """Log a `.keras` file, byte by byte, as runs:/RUN_ID/VARIANT, with grey pixels as an example of its input.

    The file maps pixels or features to (n, 1) logits. It is copied, not loaded, in a fraction of a second.
    """
    import mlflow.keras
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    example = np.full((1, *read_input_shape(model_path)), 128, np.float32)
    sides = ((-1, *example.shape[1:]), (-1, 1))  # what it takes and gives
    signature = ModelSignature(*(Schema([TensorSpec(np.dtype(np.float32), shape)]) for shape in sides))
    notes = describe_interface(example.shape[1:])
    tags = {"variant": model_path.stem, MODEL_HASH: hash_file(model_path)} | notes
    logged = store.client.create_logged_model(
        store.experiment_id, name=model_path.stem, source_run_id=run_id, model_type="keras", tags=tags
    )
    identity = {"run_id": run_id, "model_id": logged.model_id, "model_uuid": logged.model_id}
    with tempfile.TemporaryDirectory() as folder:
        mlflow.keras.save_model(
            SimpleNamespace(save=partial(shutil.copyfile, model_path)),  # the flavour only has it saved
            folder,
            mlflow_model=Model(artifact_path=logged.artifact_location, **identity),
            signature=signature,
            input_example=example,
            metadata=notes,
            pip_requirements=[f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")],
        )
        store.client.log_model_artifacts(logged.model_id, folder)
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    for name, digest in ((MODEL_HASH, tags[MODEL_HASH]), (MODEL_MD5, hash_file(model_path, "md5"))):
        store.client.set_tag(run_id, name, digest)
