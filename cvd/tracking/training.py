"""What stages tell MLflow: a training live, and what later stages add to its run."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cvd.runtime.experiments import name_experiment
from cvd.runtime.files import hash_file
from cvd.runtime.project import is_local, store_uri
from cvd.tracking import folders, records
from cvd.tracking.gate import GATE
from cvd.tracking.records import MODEL_HASH, RunRecord, describe_origin, now_ms
from cvd.tracking.runs import complete_run, find_runs, find_steps, log_epochs, log_tags, mark_dead_runs, start_run
from cvd.tracking.store import Store

SHARE = 0.01  # of the time may go into sending epochs: quick ones are sent several at once
LAG = 0.1  # of the time so far is between two sendings to a server: its budget is to last for a training of days


def send_or_keep(record: RunRecord) -> None:
    """Complete the record's run; what cannot be sent waits for `cvd sync`."""
    if GATE.attempt(lambda store: complete_run(store, record)) is None:
        folders.keep(record)


def add_to_run(
    *,
    variant: str,
    model_path: str | Path,
    metrics: Mapping[str, Any] | None = None,
    files: Sequence[str | Path] = (),
    folder: str = "",
) -> None:
    """Add figures and files to the newest run that trained this very model, as `complete_run` says.

    Final `metrics` are nested or flat: `{"test": {"accuracy": 0.7}}` becomes `test/accuracy`. `files` go to `folder` of
    the run's artifacts, usually the stage's name; their names there are relative to their common parent.
    """
    record = RunRecord(variant, name_experiment(), "evaluation", now_ms())
    record.tags = describe_origin() | {"dvc.stage": os.environ.get("DVC_STAGE", "evaluate")}
    record.tags[MODEL_HASH] = hash_file(model_path)
    if figures := records.name_metrics(metrics or {}):
        record.metrics[folder] = figures
    if files:
        record.files[folder] = [Path(path) for path in files]
    send_or_keep(record)


class TrainingRun:
    """A run that never fails the training; made by `track_training`.

    One thread talks to MLflow while the caller's goes on training: MLflow's import alone takes seconds. Epochs sent
    meanwhile are a preview. `finish` completes the run from the record, and waits for that.
    """

    def __init__(self, record: RunRecord) -> None:
        import keras  # noqa: F401 - now, in this thread: two that load what it shares with mlflow at once can deadlock

        self.record = record
        self._sent: set[int] = set()
        self._began = time.monotonic()
        self._next_send = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracking")
        self._thread.submit(GATE.attempt, lambda store: self._sent.update(_begin(store, record)))
        self._sending: Future[None] | None = None

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log metrics after an epoch (1-based), plus `gap_accuracy` and `gap_loss`."""
        self.record.epochs.append((epoch, now_ms(), dict(metrics)))
        is_idle = self._sending is None or self._sending.done()
        if is_idle and time.monotonic() >= self._next_send:
            self._sending = self._thread.submit(self._send_epochs)

    def log_model(self, model_path: str | Path) -> None:
        """Log the saved model, with signature and an input example."""
        self.record.model = Path(model_path).absolute()
        self.record.tags[MODEL_HASH] = hash_file(model_path)

    def log_files(self, paths: Sequence[str | Path], folder: str) -> None:
        """Log files into a folder of the run's artifacts."""
        self.record.files[folder] = [Path(path).absolute() for path in paths]

    @property
    def run_id(self) -> str:
        """MLflow's id; empty until the run is made, or when it could not be."""
        return self.record.run_id or ""

    def finish(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        self.record.status, self.record.end_ms = status, now_ms()
        self._thread.submit(send_or_keep, self.record).result()
        self._thread.shutdown()

    def _send_epochs(self) -> None:
        """Send, in the thread, the epochs that MLflow lacks, and set when the next ones may follow."""
        waiting = [entry for entry in self.record.epochs if entry[0] not in self._sent]
        begin = time.monotonic()
        if waiting:
            GATE.attempt(lambda store: log_epochs(store, self.run_id, waiting))
            self._sent |= {epoch for epoch, _, _ in waiting}  # or lost: then `finish` sends them
        end = time.monotonic()
        lag = 0.0 if is_local(store_uri()) else LAG * (end - self._began)
        self._next_send = end + max((end - begin) / SHARE, lag)


def _begin(store: Store, record: RunRecord) -> set[int]:
    """Mark dead runs; go on in the interrupted run of the same key, whose epochs are returned, or make a new one."""
    mark_dead_runs(store)
    if resume_key := record.tags.get("resume_key"):
        runs = find_runs(store, {"resume_key": resume_key, "variant": record.variant})
        interrupted = next((run for run in runs if run.info.status in ("FAILED", "KILLED")), None)
        if interrupted is not None:
            record.run_id = interrupted.info.run_id
            record.tags |= {"resumed": "true", "process.lost": "false"}
            store.client.update_run(record.run_id, status="RUNNING", name=record.name)
            log_tags(store, record.run_id, record.tags)
            return find_steps(store, record.run_id)
    start_run(store, record)
    return set()


@contextmanager
def track_training(
    *,
    variant: str,
    stage: str,
    params: Mapping[str, Any],
    data: Mapping[str, str],
    precision: str | None = None,
    processor: str | None = None,
    resume_key: str | None = None,
    search: str | None = None,
) -> Iterator[TrainingRun]:
    """Open a run around a training; it ends FINISHED, KILLED (Ctrl-C) or FAILED (any other error, raised again).

    Of the nested `params` those of other variants and of exports are left out. `data` holds digests by name:
    {"manifest": "3f..."}. `resume_key` stands for code, data and parameters: an interrupted run with this key goes on.
    Runs of a `search` are a group of that name.
    """
    settings = records.name_params(params, variant)
    record = RunRecord(variant, search or name_experiment(), "training", now_ms(), params=settings, data=dict(data))
    others = {"precision": precision, "processor": processor, "resume_key": resume_key}
    record.tags = describe_origin() | records.describe_process() | records.describe_training(settings, data, **others)
    record.tags["dvc.stage"] = os.environ.get("DVC_STAGE", stage)
    if search:
        record.tags |= {"search": search, "dvc.exp_name": search, "group": search}
    record.tags["run_key"] = f"{record.tags['process.host']}-{os.getpid()}-{record.start_ms}"
    run = TrainingRun(record)
    try:
        yield run
    except BaseException as error:
        run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    run.finish("FINISHED")
