"""What later stages add to the run that trained a model."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.runtime.dvc_files import name_experiment
from cvd.runtime.files import hash_file
from cvd.tracking import outbox
from cvd.tracking.gate import GATE
from cvd.tracking.model import MODEL_HASH
from cvd.tracking.outbox import Addition
from cvd.tracking.run_records import Record, describe_origin, digest_files, digest_of, name_digest, name_metrics, now_ms
from cvd.tracking.runs import (
    end_run,
    find_runs,
    find_training,
    join_group,
    log_files,
    log_results,
    send_record,
    start_run,
)
from cvd.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run


def add_to_run(
    *,
    variant: str,
    model_path: str | Path,
    metrics: Mapping[str, Any] | None = None,
    files: Sequence[str | Path] = (),
    folder: str = "",
    only_own: bool = False,
) -> None:
    """Adds figures and files to the newest run that trained this very model.

    In another experiment than the one that trained it, they go into a run of their own, of kind `evaluation`, whose tag
    `source_run_id` points to the training; unless the training's run has them already, unchanged: then that run joins
    the experiment's group.

    Args:
        variant: the model's variant.
        model_path: its `.keras` file; the run is found by its hash.
        metrics: final figures, nested or flat; `{"test": {"accuracy": 0.7}}` becomes `test/accuracy`.
        files: files for the run's artifacts; names are relative to their common parent.
        folder: folder of the artifacts, usually the stage's name.
        only_own: nothing is added when the model has no run in this experiment: for what changes with other variants.
    """
    addition = Addition(
        variant,
        hash_file(model_path),
        name_experiment(),
        now_ms(),
        tags=describe_origin() | {"dvc.stage": os.environ.get("DVC_STAGE", "evaluate")},
        metrics=name_metrics(metrics or {}),
        folder=folder,
        only_own=only_own,
        files=[Path(file) for file in files],
    )
    if not GATE.attempt(lambda store: send_addition(store, addition)):
        outbox.keep(addition)


def send_addition(store: Store, addition: Addition) -> str:
    """Brings an addition to where it belongs; returns the run's id. What is there already is not sent again."""
    runs = find_runs(store, {"variant": addition.variant, MODEL_HASH: addition.model})
    own = next((run for run in runs if run.data.tags.get("dvc.exp_name") == addition.experiment), None)
    if own is None:
        source = find_training(runs) or _send_kept_training(store, addition)
        if source is not None and source.data.tags.get("dvc.exp_name") == addition.experiment:
            own = source
        elif source is not None and (addition.only_own or _has_all(source, addition)):
            join_group(store, source, addition.experiment)
            return str(source.info.run_id)
        elif addition.only_own:
            return "nowhere"
    run_id = own.info.run_id if own is not None else _start_evaluation(store, addition, source)
    if addition.metrics:
        log_results(store, run_id, addition.metrics, addition.folder)
    if addition.files:
        log_files(store, run_id, addition.files, addition.folder)
    return run_id


def _send_kept_training(store: Store, addition: Addition) -> "Run | None":
    """The training may have run while the server was down, and wait to be sent."""
    for folder, item in outbox.list_kept():
        if isinstance(item, Record) and (item.variant, item.tags.get(MODEL_HASH)) == (addition.variant, addition.model):
            run_id = send_record(store, item)
            outbox.drop(folder)
            return store.client.get_run(run_id)
    return None


def _has_all(run: "Run", addition: Addition) -> bool:
    tags = run.data.tags
    return (not addition.metrics or tags.get(name_digest(addition.folder)) == digest_of(addition.metrics)) and (
        not addition.files or tags.get(f"files.{addition.folder}") == digest_files(addition.files)
    )


def _start_evaluation(store: Store, addition: Addition, source: "Run | None") -> str:
    """A finished run that trained nothing, with its source's parameters so that tables compare."""
    record = Record(addition.variant, addition.experiment, "evaluation", addition.start_ms)
    record.tags = addition.tags | {MODEL_HASH: addition.model}
    if source is not None:
        record.tags["source_run_id"] = source.info.run_id
        record.params = dict(source.data.params)
    run_id = start_run(store, record)
    end_run(store, run_id, "FINISHED")
    return run_id
