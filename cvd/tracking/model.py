"""A saved network as a run's model: loadable, served and registered by MLflow."""

import base64
import io
import json
import shutil
import tempfile
import zipfile
from functools import partial
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from cvd.runtime.files import hash_file
from cvd.runtime.project import experiment_name, store_uri
from cvd.tracking.records import MODEL_MD5
from cvd.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

CHAMPION = "champion"  # alias of the version that is in use
SERVED = "cvd/web/scoring.py"  # answers for the model, with what it imports:
CODE = (
    *("cvd/__init__.py", "cvd/web/__init__.py", SERVED, "cvd/data/__init__.py", "cvd/data/images/__init__.py"),
    *("cvd/data/images/pixels.py", "cvd/data/archives/*.py", "cvd/runtime/__init__.py", "cvd/runtime/errors.py"),
    *(f"cvd/data/intake/{name}.py" for name in ("__init__", "colours", "inspection", "jpeg", "photos")),
    *("cvd/runtime/threads.py", "cvd/runtime/vocabulary.py"),
)
PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "opencv-python-headless", "pillow")


def read_input_shape(model_path: str | Path) -> tuple[int, ...]:
    """Read the shape of one input of a saved model, without loading it: (150, 150, 3)."""
    with zipfile.ZipFile(model_path) as archive:
        config = json.loads(archive.read("config.json"))
    return tuple(config["config"]["layers"][0]["config"]["batch_shape"][1:])


def describe_interface(shape: tuple[int, ...], classes: tuple[str, str]) -> dict[str, str]:
    """Say what a model takes and gives. A signature of MLflow names one type of input, and pyfunc refuses any other."""
    sizes = ", ".join(map(str, shape))
    return {
        "input": f"by mlflow.pyfunc images of any size: base64, bytes or pixels 0..255, RGB; by Keras (n, {sizes})",
        "output": f"label ({' or '.join(classes)}), probability of {classes[1]}, logit: positive means {classes[1]}",
    }


def log_model(store: Store, run_id: str, variant: str, model_path: Path, classes: tuple[str, str]) -> None:
    """Log a `.keras` file, byte by byte, as runs:/RUN_ID/VARIANT, with a grey image as an example of its input.

    The file maps pixels to (n, 1) logits. It is copied, not loaded, in a fraction of a second.
    """
    import mlflow.keras
    import pandas as pd
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec, Schema
    from PIL import Image

    shape, grey = read_input_shape(model_path), io.BytesIO()
    Image.new("RGB", (shape[1], shape[0]), (128, 128, 128)).save(grey, "PNG")
    columns = {"label": "string", "probability": "double", "logit": "double"}
    notes = describe_interface(shape, classes)
    tags = {"variant": variant, MODEL_MD5: hash_file(model_path, "md5")} | notes
    logged = store.client.create_logged_model(
        store.experiment_id, name=variant, source_run_id=run_id, model_type="keras", tags=tags
    )
    identity = {"run_id": run_id, "model_id": logged.model_id, "model_uuid": logged.model_id}
    answer = ModelSignature(outputs=Schema([ColSpec(kind, column) for column, kind in columns.items()]))
    model = Model(artifact_path=logged.artifact_location, signature=answer, **identity)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mlflow.keras.save_model(
            SimpleNamespace(save=partial(shutil.copyfile, model_path)),  # the flavour only has it saved
            str(folder),
            mlflow_model=model,
            input_example=pd.DataFrame({"image": [base64.b64encode(grey.getvalue()).decode()]}),
            metadata=notes,
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in PACKAGES],
        )
        (folder / "data/classes.json").write_text(json.dumps(classes), encoding="utf-8")
        model.flavors["python_function"] |= _carry_code(folder)
        model.save(folder / "MLmodel")
        store.client.log_model_artifacts(logged.model_id, folder)
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    store.client.set_tag(run_id, MODEL_MD5, tags[MODEL_MD5])


def _carry_code(folder: Path) -> dict[str, str]:
    """Copy what answers for the model into its folder; return where MLflow finds it."""
    root = Path(__file__).parents[2]
    for path in (path for pattern in CODE for path in root.glob(pattern)):
        target = folder / "code" / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return {"loader_module": SERVED.removesuffix(".py").replace("/", "."), "code": "code", "data": "data"}


def register_model(store: Store, run: "Run") -> tuple[str, str]:
    """Register a run's model, once, as the experiment's champion; return name and version."""
    import mlflow
    from mlflow import MlflowException

    mlflow.set_tracking_uri(store_uri())  # the registry looks up a model's files by it
    name, model_id = experiment_name(), run.outputs.model_outputs[0].model_id
    try:
        store.client.create_registered_model(name)
    except MlflowException:  # there is one
        store.client.get_registered_model(name)
    source = f"models:/{model_id}"
    versions = {version.source: version for version in store.client.search_model_versions(f"name = '{name}'")}
    if (version := versions.get(source)) is None:
        version = store.client.create_model_version(name, source, run.info.run_id, model_id=model_id)
    store.client.set_registered_model_alias(name, CHAMPION, version.version)
    return name, str(version.version)
