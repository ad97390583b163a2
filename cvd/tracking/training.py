"""A training's run, live."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cvd.runtime.dvc_files import name_experiment
from cvd.runtime.files import hash_file
from cvd.runtime.project import is_local, store_uri
from cvd.tracking import outbox
from cvd.tracking.gate import GATE
from cvd.tracking.model import MODEL_HASH, log_model
from cvd.tracking.run_records import (
    Record,
    describe_origin,
    describe_process,
    digest_of,
    name_params,
    now_ms,
)
from cvd.tracking.runs import (
    end_run,
    find_runs,
    find_steps,
    log_epochs,
    log_files,
    log_tags,
    mark_dead_runs,
    start_run,
)
from cvd.tracking.store import Store

SHARE = 0.01  # of the time may go into sending epochs: quick ones are sent several at once
LAG = 0.1  # of the time so far is between two sendings to a server: its budget is to last for a training of days


class TrainingRun:
    """A run that never fails the training; made by `track_training`.

    One thread talks to MLflow, in the order of the calls, while the caller's goes on training: MLflow's import alone
    takes seconds. `finish` waits for it.
    """

    def __init__(self, record: Record, resume_key: str | None) -> None:
        import keras  # noqa: F401 - now, in this thread: two that load what it shares with mlflow at once can deadlock

        self.record = record
        self._sent: set[int] = set()
        self._is_complete = True
        self._began = time.monotonic()
        self._next_send = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracking")
        self._attempt(lambda store: self._sent.update(_begin(store, record, resume_key)))
        self._sending: Future[None] | None = None

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Metrics after an epoch (1-based), plus `gap_accuracy` and `gap_loss`."""
        self.record.epochs.append((epoch, now_ms(), dict(metrics)))
        is_idle = self._sending is None or self._sending.done()
        if is_idle and time.monotonic() >= self._next_send:
            self._sending = self._thread.submit(self._send_epochs)

    def log_model(self, model_path: str | Path, example: np.ndarray | None = None) -> None:
        """The saved model, with signature and an input example (n, ...) of which the first is kept."""
        self.record.model = Path(model_path).absolute()
        self.set_tags({MODEL_HASH: hash_file(model_path)})
        self._attempt(lambda store: log_model(store, self.run_id, model_path, example))

    def log_files(self, paths: Sequence[str | Path], folder: str) -> None:
        """Files into a folder of the run's artifacts."""
        self.record.files[folder] = [Path(path).absolute() for path in paths]
        self._attempt(lambda store: log_files(store, self.run_id, paths, folder))

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Further tags, for instance precision and device once they are known."""
        texts = {name: str(value) for name, value in tags.items()}
        self.record.tags |= texts
        self._attempt(lambda store: log_tags(store, self.run_id, texts))

    @property
    def run_id(self) -> str:
        """MLflow's id; empty until the run is made, or when it could not be."""
        return self.record.run_id or ""

    def wait(self) -> None:
        """Until all that was asked for is done, or given up."""
        self._thread.submit(lambda: None).result()

    def finish(self, status: str) -> None:
        """Ends the run: FINISHED, FAILED or KILLED. What could not be sent is kept for `cvd sync`."""
        self.record.status, self.record.end_ms = status, now_ms()
        self._thread.submit(self._send_epochs)
        self._attempt(lambda store: end_run(store, self.run_id, status, self.record.end_ms))
        self._thread.shutdown()
        if not self._is_complete:
            outbox.keep(self.record)

    def _attempt(self, work: Callable[[Store], object]) -> None:
        self._thread.submit(self._do, work)

    def _do(self, work: Callable[[Store], object]) -> bool:
        """In the thread, as all below."""
        done = GATE.attempt(lambda store: (work(store),)) is not None
        self._is_complete &= done
        return done

    def _send_epochs(self) -> None:
        waiting = [entry for entry in self.record.epochs if entry[0] not in self._sent]
        if not waiting:
            return
        begin = time.monotonic()
        if self._do(lambda store: log_epochs(store, self.run_id, waiting)):
            self._sent |= {epoch for epoch, _, _ in waiting}
        end = time.monotonic()
        lag = 0.0 if is_local(store_uri()) else LAG * (end - self._began)
        self._next_send = end + max((end - begin) / SHARE, lag)


def _begin(store: Store, record: Record, resume_key: str | None) -> set[int]:
    """Marks dead runs, then goes on in the interrupted run of the same key, or makes a new one.

    Returns:
        the epochs that the run has: a resumed training tells of them again.
    """
    mark_dead_runs(store)
    if resume_key is not None:
        record.tags["resume_key"] = resume_key
        runs = find_runs(store, {"resume_key": resume_key, "variant": record.variant})
        interrupted = next((run for run in runs if run.info.status in ("FAILED", "KILLED")), None)
        if interrupted is not None:
            record.run_id = interrupted.info.run_id
            store.client.update_run(record.run_id, status="RUNNING", name=record.name)
            log_tags(store, record.run_id, record.tags | {"resumed": "true", "process.lost": "false"})
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
) -> Iterator[TrainingRun]:
    """A run around a training, ended FINISHED, KILLED (Ctrl-C) or FAILED (any other error, which goes on upwards).

    Args:
        variant: its name.
        stage: for the tag `dvc.stage`, when DVC does not give one.
        params: the parameters, nested or flat; those of other variants and of exports are left out.
        data: digests of the data read, by name: {"manifest": "3f..."}.
        precision: float32 or mixed_bfloat16.
        processor: what computes, for people.
        resume_key: same code, data and parameters: an interrupted run with this key is gone on with.
    """
    kept = name_params(params, variant)
    record = Record(variant, name_experiment(), "training", now_ms(), params=kept, data=dict(data))
    record.tags = describe_origin() | describe_process()
    record.tags |= {f"data.{name}": digest for name, digest in data.items()}
    record.tags |= {
        "dvc.stage": os.environ.get("DVC_STAGE", stage),
        "params.digest": digest_of(kept),
        "mlflow.source.name": f"stages.{stage.split('@')[0]}",
        "run_key": f"{record.tags['process.host']}-{os.getpid()}-{record.start_ms}",
    }
    record.tags |= {name: text for name, text in (("precision", precision), ("processor", processor)) if text}
    run = TrainingRun(record, resume_key)
    try:
        yield run
    except BaseException as error:
        run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    run.finish("FINISHED")
