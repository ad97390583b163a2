"""What later stages add to the run that trained a model."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.tracking.gate import GATE
from cvd.tracking.records import (
    Record,
    describe_origin,
    digest_of,
    hash_file,
    kept_records,
    name_experiment,
    name_metrics,
    now_ms,
)
from cvd.tracking.runs import (
    MODEL_HASH,
    digest_files,
    end_run,
    find_runs,
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
    `source_run_id` points to the training; unless the training's run has them already, unchanged.

    Args:
        variant: the model's variant.
        model_path: its `.keras` file; the run is found by its hash.
        metrics: final figures, nested or flat; `{"test": {"accuracy": 0.7}}` becomes `test/accuracy`.
        files: files for the run's artifacts; names are relative to their common parent.
        folder: folder of the artifacts, usually the stage's name.
        only_own: nothing is done when the model has no run in this experiment: for what changes with other variants.
    """
    GATE.attempt(
        lambda store: _add(store, variant, hash_file(model_path), metrics or {}, list(files), folder, only_own=only_own)
    )


def _add(
    store: Store,
    variant: str,
    digest: str,
    metrics: Mapping[str, Any],
    files: Sequence[str | Path],
    folder: str,
    *,
    only_own: bool,
) -> None:
    runs = find_runs(store, {"variant": variant, MODEL_HASH: digest})
    own = next((run for run in runs if run.data.tags.get("dvc.exp_name") == name_experiment()), None)
    if own is None:
        source = find_training(runs) or _send_kept(store, variant, digest)
        if source is not None and source.data.tags.get("dvc.exp_name") == name_experiment():
            own = source
        elif only_own or (source is not None and _has_all(source, metrics, files, folder)):
            return
    run_id = own.info.run_id if own is not None else _start_evaluation(store, variant, digest, source)
    if metrics:
        log_results(store, run_id, metrics)
    if files:
        log_files(store, run_id, files, folder)


def find_training(runs: "Sequence[Run]") -> "Run | None":
    """The newest that trained; one that only evaluates points to it, or to nothing."""
    return next((run for run in runs if run.data.tags.get("kind") == "training"), None)


def _send_kept(store: Store, variant: str, digest: str) -> "Run | None":
    """The training may have run while the server was down, and wait to be sent."""
    for path, record in kept_records():
        if record.variant == variant and record.tags.get(MODEL_HASH) == digest:
            run_id = send_record(store, record)
            path.unlink()
            return store.client.get_run(run_id)
    return None


def _has_all(run: "Run", metrics: Mapping[str, Any], files: Sequence[str | Path], folder: str) -> bool:
    tags = run.data.tags
    return (not metrics or tags.get("metrics.digest") == digest_of(name_metrics(metrics))) and (
        not files or tags.get(f"files.{folder}") == digest_files(files)
    )


def _start_evaluation(store: Store, variant: str, digest: str, source: "Run | None") -> str:
    """A finished run that trained nothing, with its source's parameters so that tables compare."""
    record = Record(variant=variant, experiment=name_experiment(), kind="evaluation", start_ms=now_ms())
    record.tags = describe_origin() | {"dvc.stage": os.environ.get("DVC_STAGE", "evaluate"), MODEL_HASH: digest}
    if source is not None:
        record.tags["source_run_id"] = source.info.run_id
        record.params = dict(source.data.params)
    run_id = start_run(store, record)
    end_run(store, run_id, "FINISHED")
    return run_id
