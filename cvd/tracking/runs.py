"""What is done to runs of an open store: make, find, fill, end."""

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvd.tracking.records import Record, complete_epoch, digest_of, hash_file, is_dead, name_metrics, now_ms
from cvd.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

MODEL_HASH = "model.sha256"
MODEL_NAME = "model"  # mlflow.keras.load_model("runs:/RUN_ID/model")
BATCH = 900  # metrics in one request; MLflow takes 1,000


def find_runs(store: Store, tags: Mapping[str, str], *, running: bool = False) -> "list[Run]":
    """Runs that carry all of `tags`, newest first; deleted ones are not found."""
    terms = [f"tags.`{name}` = {_quote(value)}" for name, value in tags.items()]
    terms += ["attributes.status = 'RUNNING'"] if running else []
    return list(
        store.client.search_runs(
            [store.experiment_id], " and ".join(terms), order_by=["attributes.start_time DESC"], max_results=1000
        )
    )


def _quote(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"


def start_run(store: Store, record: Record) -> str:
    """Makes the record's run, with its tags, parameters and data set; returns its id and keeps it in the record."""
    client = store.client
    tags = record.tags | {"variant": record.variant, "kind": record.kind}
    run = client.create_run(store.experiment_id, start_time=record.start_ms, tags=tags, run_name=record.name)
    record.run_id = run.info.run_id
    _log_inputs(store, record)
    return record.run_id


def _log_inputs(store: Store, record: Record) -> None:
    """Parameters, a hundred in one request, and data sets."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    params = [Param(name, value) for name, value in record.params.items()]
    for first in range(0, len(params), 100):
        store.client.log_batch(str(record.run_id), params=params[first : first + 100], synchronous=True)
    sets = []
    for name, digest in record.data.items():
        source = json.dumps({"uri": record.tags.get(f"data.{name}.uri", name)})
        data = Dataset(name=name, digest=digest[:36], source_type="local", source=source)
        sets.append(DatasetInput(data, tags=[InputTag("mlflow.data.context", "training")]))
    if sets:
        store.client.log_inputs(str(record.run_id), datasets=sets)


def log_epochs(store: Store, run_id: str, epochs: Sequence[tuple[int, int, Mapping[str, float]]]) -> None:
    """Curves: each epoch's metrics at step = epoch."""
    from mlflow.entities import Metric

    points = [
        Metric(name, value, moment, epoch)
        for epoch, moment, metrics in epochs
        for name, value in complete_epoch(metrics).items()
    ]
    for first in range(0, len(points), BATCH):
        store.client.log_batch(run_id, metrics=points[first : first + BATCH], synchronous=True)


def log_tags(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Sets tags, all in one request."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()], synchronous=True)


def end_run(store: Store, run_id: str, status: str, end_ms: int | None = None) -> None:
    """Ends a run: FINISHED, FAILED or KILLED."""
    store.client.set_terminated(run_id, status=status, end_time=end_ms or now_ms())


def send_record(store: Store, record: Record) -> str:
    """Brings a whole record into its run, made if missing; what is there already is not sent again.

    Returns:
        the run's id.
    """
    if record.run_id is None and (key := record.tags.get("run_key")):
        record.run_id = next((run.info.run_id for run in find_runs(store, {"run_key": key})), None)
    if record.run_id is None:
        start_run(store, record)
    else:
        log_tags(store, record.run_id, record.tags | {"kind": record.kind})
        if not store.client.get_run(record.run_id).data.params:
            _log_inputs(store, record)
    run_id = str(record.run_id)
    sent = {point.step for point in store.client.get_metric_history(run_id, "loss")}
    log_epochs(store, run_id, [entry for entry in record.epochs if entry[0] not in sent])
    end_run(store, run_id, record.status if record.status != "RUNNING" else "KILLED", record.end_ms)
    return run_id


def mark_dead_runs(store: Store) -> list[str]:
    """Ends runs whose process is gone (killed, or the machine restarted) as KILLED; returns their names."""
    names = []
    for run in find_runs(store, {}, running=True):
        if is_dead(run.data.tags):
            store.client.set_tag(run.info.run_id, "process.lost", "true")
            end_run(store, run.info.run_id, "KILLED")
            names.append(run.info.run_name)
    return names


class _SavedModel:
    """Stands for a model that is saved already: MLflow's Keras flavour calls only `save`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, path: str) -> None:
        shutil.copyfile(self.path, path)


def read_input_shape(model_path: str | Path) -> tuple[int, ...]:
    """The shape of one input of a saved model, without loading it: (150, 150, 3)."""
    with zipfile.ZipFile(model_path) as archive:
        config = json.loads(archive.read("config.json"))
    return tuple(config["config"]["layers"][0]["config"]["batch_shape"][1:])


def describe_interface(shape: tuple[int, ...]) -> dict[str, str]:
    """What a model takes and gives, for people. A signature of MLflow names one type, and pyfunc refuses any other."""
    sizes = ", ".join(map(str, shape))
    return {
        "input": f"(n, {sizes}), pixels 0..255, RGB: float32 or uint8; by mlflow.pyfunc float32 only",
        "output": "(n, 1), float32, a logit: positive means dog",
    }


def log_model(store: Store, run_id: str, model_path: str | Path, example: "np.ndarray | None" = None) -> None:
    """Logs a `.keras` file, byte by byte, as the run's model.

    The file is copied, not loaded, so that this takes a fraction of a second and the logged model is the file.

    Args:
        store: the open store.
        run_id: the run that trained it.
        model_path: the `.keras` file; pixels or features -> (n, 1) logits.
        example: (n, ...) an input as example, its first row is kept; None: grey pixels.
    """
    import mlflow.keras
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    if example is None:
        example = np.full((1, *read_input_shape(model_path)), 128.0)
    example = np.asarray(example, np.float32)[:1]
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *example.shape[1:]))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, 1))]),
    )
    notes = describe_interface(example.shape[1:])
    tags = {"variant": Path(model_path).stem, MODEL_HASH: hash_file(model_path)} | notes
    logged = store.client.create_logged_model(
        store.experiment_id, name=MODEL_NAME, source_run_id=run_id, model_type="keras", tags=tags
    )
    with tempfile.TemporaryDirectory() as folder:
        mlflow.keras.save_model(
            _SavedModel(Path(model_path)),
            folder,
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=run_id,
                model_id=logged.model_id,
            ),
            signature=signature,
            input_example=example,
            metadata=notes,
            pip_requirements=[f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")],
        )
        store.client.log_model_artifacts(logged.model_id, folder)
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    log_tags(store, run_id, {MODEL_HASH: tags[MODEL_HASH]})


def arrange_files(files: Sequence[str | Path]) -> dict[str, Path]:
    """Names inside a run's folder: relative to the files' common parent."""
    paths = [Path.cwd() / path for path in files]
    parent = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return {path.relative_to(parent).as_posix(): path for path in paths}


def digest_files(files: Sequence[str | Path]) -> str:
    """Names and contents in one digest."""
    return digest_of({name: hash_file(path) for name, path in arrange_files(files).items()})


def log_files(store: Store, run_id: str, files: Sequence[str | Path], folder: str) -> bool:
    """Uploads files into a folder of the run's artifacts; False when these very files are there already."""
    tag, digest = f"files.{folder}", digest_files(files)
    if store.client.get_run(run_id).data.tags.get(tag) == digest:
        return False
    with tempfile.TemporaryDirectory() as staged:
        for name, path in arrange_files(files).items():
            target = Path(staged, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        store.client.log_artifacts(run_id, staged, artifact_path=folder)
    log_tags(store, run_id, {tag: digest})
    return True


def log_results(store: Store, run_id: str, metrics: Mapping[str, Any]) -> bool:
    """Logs final figures, nested ones joined by "/" (`test/accuracy`); False when they are there already."""
    from mlflow.entities import Metric

    figures = name_metrics(metrics)
    digest = digest_of(figures)
    if store.client.get_run(run_id).data.tags.get("metrics.digest") == digest:
        return False
    moment = now_ms()
    store.client.log_batch(
        run_id, metrics=[Metric(name, value, moment, 0) for name, value in figures.items()], synchronous=True
    )
    log_tags(store, run_id, {"metrics.digest": digest})
    return True
