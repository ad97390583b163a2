"""What stages tell MLflow: a training live, as a preview, and what was made of its model."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cvd.runtime.experiments import name_experiment, read_lock
from cvd.runtime.files import hash_file, write_json
from cvd.runtime.project import is_local, store_uri
from cvd.tracking import records, results, runs
from cvd.tracking.gate import GATE
from cvd.tracking.records import MODEL_MD5, Part, RunRecord, arrange_files, describe_origin, now_ms
from cvd.tracking.store import Store

SHARE = 0.01  # of the time may go into sending epochs: quick ones are sent several at once
LAG = 0.1  # of the time so far is between two sendings to a server: its budget is to last for a training of days


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
    the run's artifacts, usually the stage's name; their names there are relative to their common parent. What cannot be
    sent is completed from the files later, by the report or `cvd sync`; so is a training that is missing.
    """
    record = RunRecord(variant, name_experiment(), "evaluation", now_ms())
    record.tags = describe_origin() | {"dvc.stage": os.environ.get("DVC_STAGE", "evaluate")}
    record.tags[MODEL_MD5] = hash_file(model_path, "md5")
    record.parts[folder] = Part(records.name_metrics(metrics or {}), arrange_files(files))
    GATE.attempt(lambda store: _add(store, record))


def _add(store: Store, record: RunRecord) -> bool:
    """Complete a record's run; before it the training's, which the server may have missed."""
    model = {"variant": record.variant, MODEL_MD5: record.tags[MODEL_MD5]}
    locked = read_lock().get(record.variant)
    if locked and locked.md5 == record.tags[MODEL_MD5] and runs.find_training(runs.find_runs(store, model)) is None:
        runs.mark_dead_runs(store)
        runs.complete_run(store, results.read_training(Path(), record.variant, {}))
    runs.complete_run(store, record)
    return True


class TrainingRun:
    """A run that never fails the training; made by `track_training`.

    One thread talks to MLflow while the caller's goes on training: MLflow's import alone takes seconds. Epochs sent
    meanwhile are a preview. `finish` completes the run of a training that is done, and waits for that. A `note` is a
    file that keeps what is known of a run whose other files say too little.
    """

    def __init__(self, record: RunRecord, note: Path | None = None) -> None:
        import keras  # noqa: F401 - now, in this thread: two that load what it shares with mlflow at once can deadlock

        self.record, self._note = record, note
        self._sent: set[int] = set()
        self._monitors: dict[type, Any] = {}
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
        self.record.classes = records.read_classes(records.MANIFEST)
        self.record.tags[MODEL_MD5] = hash_file(model_path, "md5")

    def log_files(self, paths: Sequence[str | Path], folder: str) -> None:
        """Log files into a folder of the run's artifacts."""
        self.record.parts[folder] = Part(files=arrange_files(paths))

    def log_figures(self, figures: Mapping[str, float], folder: str) -> None:
        """Log final figures."""
        self.record.parts[folder] = Part(dict(figures))

    @property
    def run_id(self) -> str:
        """MLflow's id; empty until the run is made, or when it could not be."""
        return self.record.run_id or ""

    def finish(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        self.record.status, self.record.end_ms = status, now_ms()
        if self._note and status == "FINISHED":
            write_json(asdict(self.record), self._note)
        self._thread.submit(GATE.attempt, self._finish).result()
        self._thread.shutdown()

    def _finish(self, store: Store) -> None:
        if self.record.status == "FINISHED":
            runs.complete_run(store, self.record)
        else:
            self._send_epochs()
            runs.end_run(store, self.run_id, self.record.status, self.record.end_ms)

    def _send_epochs(self) -> None:
        """Send, in the thread, the epochs that MLflow lacks, and set when the next ones may follow."""
        waiting = [entry for entry in self.record.epochs if entry[0] not in self._sent]
        begin = time.monotonic()
        if waiting:
            GATE.attempt(lambda store: runs.log_epochs(store, self.run_id, waiting, self._sample_machine()))
            self._sent |= {epoch for epoch, _, _ in waiting}  # or lost: then `finish` sends them
        end = time.monotonic()
        lag = 0.0 if is_local(store_uri()) else LAG * (end - self._began)
        self._next_send = end + max((end - begin) / SHARE, lag)

    def _sample_machine(self) -> dict[str, float]:
        """Sample processor, memory and, where there are some, GPUs, by MLflow's own monitors; since the last time."""
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        sampled: dict[str, float] = {}
        for kind in (CPUMonitor, GPUMonitor):
            with suppress(ImportError, RuntimeError):  # no GPU, or no nvidia-ml-py
                monitor = self._monitors.get(kind) or self._monitors.setdefault(kind, kind())
                monitor.collect_metrics()
                sampled |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
        return sampled


def _begin(store: Store, record: RunRecord) -> set[int]:
    """Mark dead runs; go on in the interrupted run of the same key, whose epochs are returned, or make a new one."""
    runs.mark_dead_runs(store)
    if resume_key := record.tags.get("resume_key"):
        others = runs.find_runs(store, {"resume_key": resume_key, "variant": record.variant})
        interrupted = next((run for run in others if run.info.status in ("FAILED", "KILLED")), None)
        if interrupted is not None:
            record.run_id = interrupted.info.run_id
            record.tags |= {"resumed": "true", "process.lost": "false"}
            store.client.update_run(record.run_id, status="RUNNING", name=record.name)
            runs.log_tags(store, record.run_id, record.tags)
            return runs.find_steps(store, record.run_id)
    runs.start_run(store, record)
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
    note: Path | None = None,
) -> Iterator[TrainingRun]:
    """Open a run around a training; it ends FINISHED, KILLED (Ctrl-C) or FAILED (any other error, raised again).

    Of the nested `params` those of other variants and of exports are left out. `data` holds digests by name:
    {"manifest": "3f..."}. `resume_key` stands for code, data and parameters: an interrupted run with this key goes on.
    Runs of a `search` are a group of that name; the `note` of each is what `cvd sync` completes it from.
    """
    settings, sets = records.name_params(params, variant), {**data, **records.digest_splits(records.MANIFEST)}
    record = RunRecord(variant, search or name_experiment(), "training", now_ms(), params=settings, data=sets)
    others = {"precision": precision, "processor": processor, "resume_key": resume_key}
    record.tags = describe_origin() | records.describe_process() | records.describe_training(settings, sets, **others)
    record.tags["dvc.stage"] = os.environ.get("DVC_STAGE", stage)
    if search:
        record.tags |= {"search": search, "dvc.exp_name": search, "group": search}
    record.tags["run_key"] = f"{record.tags['process.host']}-{os.getpid()}-{record.start_ms}"
    run = TrainingRun(record, note)
    try:
        yield run
    except BaseException as error:
        run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    run.finish("FINISHED")
