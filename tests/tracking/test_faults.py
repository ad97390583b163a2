"""Stores that are dead, slow, full, locked or read-only: little time, one line, nothing lost."""

import http.server
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tracking_samples import EPOCH, PARAMS, sync, train, write_workspace

from cvd import tracking
from cvd.runtime.files import hash_file
from cvd.tracking import gate as gates
from cvd.tracking import records, runs, store


def test_dead_server_costs_little_and_the_run_is_sent_later(
    opened: store.Store,
    gate: gates.Gate,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    workspace: Path,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    gate._store = None
    begin = time.perf_counter()
    model = go_through_stages(workspace, seed=6)
    assert time.perf_counter() - begin < 4
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: MLflow at http://127.0.0.1:9 cannot be used")
    check_sent_later(gate, opened, model, monkeypatch)
    (run,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert [point.step for point in opened.client.get_metric_history(run.info.run_id, "loss")] == [1, 2]


def test_slow_store_does_not_hold_up_the_training(opened: store.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    is_trained, waited = threading.Event(), []
    send = type(opened.client).log_batch

    def send_late(*arguments: Any, **options: Any) -> None:
        waited.append(is_trained.wait(30))
        send(*arguments, **options)

    monkeypatch.setattr(type(opened.client), "log_batch", send_late)
    with tracking.track_training(variant="baseline", stage="train", params=PARAMS, data={}) as run:
        for epoch in (1, 2, 3):
            run.log_epoch(epoch, EPOCH)
        is_trained.set()
    assert waited
    assert all(waited), "the training waited for MLflow"
    assert [point.step for point in opened.client.get_metric_history(run.run_id, "loss")] == [1, 2, 3]


def wait_for(run: tracking.TrainingRun) -> None:
    """Until all that was asked for so far is done, or given up."""
    run._thread.submit(lambda: None).result()


def test_preview_of_a_server_that_died_becomes_the_run(
    opened: store.Store, gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    model = write_workspace(workspace, "baseline", seed=7)
    with monkeypatch.context() as patch:  # as in another process, which has ended by the time of `cvd sync`
        patch.setattr(records, "describe_process", lambda _=None: GONE)
        with tracking.track_training(variant="baseline", stage="train", params=PARAMS, data={}) as run:
            run.log_epoch(1, EPOCH)
            wait_for(run)
            patch.setattr(type(opened.client), "log_batch", refuse)
            run._next_send = 0.0
            run.log_epoch(2, EPOCH)
            wait_for(run)
            run.log_model(model)
    assert opened.client.get_run(run.run_id).info.status == "RUNNING"
    gate.is_open = True
    lines = sync()
    assert lines[0] == "workspace/baseline: its process is gone, marked KILLED"
    assert "workspace/baseline: made from its files, 2 epochs" in lines
    (done,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert done.info.run_id == run.run_id
    assert (done.info.status, done.data.tags["process.lost"]) == ("FINISHED", "false")
    assert {point.step for point in opened.client.get_metric_history(run.run_id, "loss")} == {1, 2}
    assert sync() == []


def test_server_that_hangs_is_given_up_and_left_alone(
    gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gates, "PROBE_S", 0.3)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        for limit_s in (2.0, 0.25):  # the second process does not even ask
            gate.is_open, gate._store = True, None
            begin = time.perf_counter()
            assert gate.attempt(lambda each: each) is None
            assert time.perf_counter() - begin < limit_s
    assert "did not answer a short while ago" in capfd.readouterr().err


def test_slow_calls_end_with_the_budget(
    gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(gate, "budget_s", 0.5)
    gate._store = SimpleNamespace()  # type: ignore[assignment]
    over = threading.Event()
    begin = time.perf_counter()
    assert gate.attempt(lambda _: over.wait(20)) is None
    assert time.perf_counter() - begin < 2
    assert gate.attempt(lambda _: 1) is None
    over.set()
    assert "too slow" in capfd.readouterr().err
    gates.held_file().unlink()


GONE = {"process.pid": "4194305", "process.started": "1", "process.host": socket.gethostname()}


class Refusing(http.server.BaseHTTPRequestHandler):
    """Alive, and refuses everything with the server's `status`, after `pause_s`."""

    def answer(self) -> None:
        time.sleep(getattr(self.server, "pause_s", 0))
        is_health = self.path == "/health"
        self.send_response(200 if is_health else self.server.status)  # type: ignore[attr-defined]
        body = b"OK" if is_health else b'{"error_code": "INTERNAL_ERROR", "message": "no room"}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def go_through_stages(workspace: Path, seed: int) -> Path:
    """A training and an evaluation; none may fail."""
    model = write_workspace(workspace, "baseline", seed)
    train(model=model)
    metrics = json.loads(Path("metrics/baseline.json").read_text())
    tracking.add_to_run(variant="baseline", model_path=model, metrics=metrics, folder="evaluation")
    return model


def check_sent_later(gate: gates.Gate, opened: store.Store, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    gate.is_open, gate._store = True, opened
    assert sync()
    (run,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert (run.info.status, run.data.metrics["test/accuracy"]) == ("FINISHED", 0.75)
    assert run.outputs.model_outputs
    assert sync() == []


@pytest.mark.parametrize("status", [403, 500, 507])
def test_server_that_refuses_costs_little(
    opened: store.Store,
    gate: gates.Gate,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    workspace: Path,
    status: int,
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.status = status  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{server.server_port}")
        gate._store = None
        begin = time.perf_counter()
        model = go_through_stages(workspace, seed=30 + status)
        assert time.perf_counter() - begin < 10
        server.shutdown()
    (line,) = capfd.readouterr().err.splitlines()
    assert str(server.server_port) in line
    assert "secret" not in line
    check_sent_later(gate, opened, model, monkeypatch)


def test_slow_server_is_left_after_its_budget(
    opened: store.Store, gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    monkeypatch.setattr(gate, "budget_s", 1.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.status, server.pause_s = 200, 0.7  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        gate._store = None
        begin = time.perf_counter()
        model = go_through_stages(workspace, seed=40)
        assert time.perf_counter() - begin < 6
        server.shutdown()
    gates.held_file().unlink(missing_ok=True)
    check_sent_later(gate, opened, model, monkeypatch)


def write_garbage(path: Path) -> str:
    path.write_bytes(b"no database " * 100)
    return f"sqlite:///{path}"


def open_read_only(path: Path) -> str:
    store._create_database(path)
    return f"sqlite:///file:{path}?mode=ro&uri=true"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (write_garbage, "file is not a database"),
        (open_read_only, "readonly database"),
        (lambda path: f"sqlite:///{path.parent}/README.md/x.db", "README.md"),
        (lambda path: str(path.parent / "mlruns"), "no runs in folders"),
        (lambda path: f"file://{path.parent}/mlruns", "no runs in folders"),
        (lambda path: "nonsense://host", "nonsense"),
    ],
)
def test_store_that_cannot_be_written_costs_little(
    opened: store.Store,
    gate: gates.Gate,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
    workspace: Path,
    make: Callable[[Path], str],
    words: str,
) -> None:
    tmp_path = tmp_path_factory.mktemp("store")
    (tmp_path / "README.md").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", make(tmp_path / "x.db"))
    gate._store = None
    begin = time.perf_counter()
    model = go_through_stages(workspace, seed=50)
    assert time.perf_counter() - begin < 10
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line
    assert not list(tmp_path.rglob("mlruns"))
    check_sent_later(gate, opened, model, monkeypatch)
    for run in runs.find_runs(opened, {"model.md5": hash_file(model, "md5")}):
        opened.client.delete_run(run.info.run_id)  # the next one's model is the same


def test_locked_database_is_given_up(
    gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(gates, "LOCK_S", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/x.db")
    gate._store = None
    with closing(sqlite3.connect(tmp_path / "x.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert gate.attempt(lambda each: each) is None
    assert "database is locked" in capfd.readouterr().err
