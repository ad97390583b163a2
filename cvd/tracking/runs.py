"""What is done to runs of an open store: make, find, fill, end."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.runtime.dvc_files import WORKSPACE
from cvd.tracking.model import log_model
from cvd.tracking.run_records import (
    Record,
    arrange_files,
    complete_epoch,
    digest_files,
    digest_of,
    is_dead,
    name_digest,
    name_metrics,
    now_ms,
)
from cvd.tracking.store import Store, lock_store
from cvd.tracking.view import choose_colour

if TYPE_CHECKING:
    from mlflow.entities import Run

GROUPS = "groups"  # the experiments that a run belongs to: that of its own, and those that use its model untouched
MOST_GROUPS = 100  # MLflow keeps 8,000 characters
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


def find_training(runs: "Sequence[Run]") -> "Run | None":
    """The newest that trained; one that only evaluates points to it, or to nothing."""
    return next((run for run in runs if run.data.tags.get("kind") == "training"), None)


def join_group(store: Store, run: "Run", experiment: str) -> None:
    """Lets a run stand with those of an experiment that uses its model untouched: in the tag `groups`, newest first."""
    with lock_store():  # experiments run at once
        names = store.client.get_run(run.info.run_id).data.tags.get(GROUPS, "").split()
        if experiment not in names:
            kept = [experiment, *names][:MOST_GROUPS]
            store.client.set_tag(run.info.run_id, GROUPS, format_groups(kept))


def format_groups(names: Sequence[str]) -> str:
    """Names between blanks, so that `tags.groups LIKE "% NAME %"` finds whole ones."""
    return f" {' '.join(names)} "


def describe_run(record: Record) -> str:
    """The run's description: how to get from it to the experiment, and where its pictures are."""
    baseline = f"commit `{record.tags.get('dvc.baseline_rev', 'unknown')[:7]}`"
    name = record.experiment
    origin = f"DVC experiment `{name}` on {baseline}. Its files: `dvc exp apply {name}`. Its runs: `cvd runs {name}`."
    if name == WORKSPACE:
        origin = f"Made by `dvc repro` on {baseline}."
    return f"{origin}\n\nCurves: *Model metrics*. Pictures: *Artifacts*, in `evaluation`, `filters`, `gradcam`."


def start_run(store: Store, record: Record) -> str:
    """Makes the record's run, with its tags, parameters and data set; returns its id and keeps it in the record."""
    client = store.client
    tags = record.tags | {"variant": record.variant, "kind": record.kind, GROUPS: format_groups([record.experiment])}
    tags |= {"mlflow.note.content": describe_run(record)} | choose_colour(record.variant, record.experiment)
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


def find_steps(store: Store, run_id: str) -> set[int]:
    """The epochs whose metrics a run has."""
    return {point.step for point in store.client.get_metric_history(run_id, "loss")}


def has_model(store: Store, run_id: str) -> bool:
    """Whether a run has a whole model."""
    outputs = store.client.get_run(run_id).outputs
    return bool(outputs and outputs.model_outputs)


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
    sent = find_steps(store, run_id)
    log_epochs(store, run_id, [entry for entry in record.epochs if entry[0] not in sent])
    if record.model is not None and not has_model(store, run_id):
        log_model(store, run_id, record.model)
    for folder, files in record.files.items():
        log_files(store, run_id, files, folder)
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


def log_results(store: Store, run_id: str, metrics: Mapping[str, Any], folder: str) -> bool:
    """Logs a stage's final figures, nested ones joined by "/" (`test/accuracy`); False when they are there already."""
    from mlflow.entities import Metric

    figures = name_metrics(metrics)
    if not figures:
        return False
    digest = digest_of(figures)
    if store.client.get_run(run_id).data.tags.get(name_digest(folder)) == digest:
        return False
    moment = now_ms()
    store.client.log_batch(
        run_id, metrics=[Metric(name, value, moment, 0) for name, value in figures.items()], synchronous=True
    )
    log_tags(store, run_id, {name_digest(folder): digest})
    return True
