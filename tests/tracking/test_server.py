"""A real `mlflow server` on loopback: sqlite, and artifacts through the server."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tracking_samples import EPOCH, PARAMS, save_model, sync, train, write_workspace

from cvd import tracking
from cvd.commands.runs import format_table
from cvd.runtime.files import hash_file
from cvd.runtime.project import store_uri
from cvd.tracking import gate as gates
from cvd.tracking import runs, store

WITHIN_S = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    store._create_database(folder / "mlflow.db")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=kept | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(address, process, folder / "log")
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(20)


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    limit = time.monotonic() + WITHIN_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < limit, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)


@pytest.fixture
def project(server: str, gate: gates.Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    gate._store = None
    monkeypatch.setattr(gate, "budget_s", 240)  # what it does is tested here, not how fast this machine is
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_evaluate_and_sync_as_with_a_file(
    project: Path, gate: gates.Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    model = save_model(project / "models/augmented.keras", seed=21)
    run_id = train("augmented", model=model, n_epochs=3)
    figures = {"test": {"accuracy": 0.7}}
    tracking.add_to_run(variant="augmented", model_path=model, metrics=figures, files=[model], folder="evaluation")
    assert gate.is_open
    opened = gate._store
    assert opened is not None
    run = opened.client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "workspace/augmented")
    assert run.data.metrics["test/accuracy"] == 0.7
    assert run.data.params["augment.rotation_degrees"] == "40.0"
    assert [point.step for point in opened.client.get_metric_history(run_id, "gap_loss")] == [1, 2, 3]
    assert run.inputs.dataset_inputs[0].dataset.name == "manifest"
    assert [each.path for each in opened.client.list_artifacts(run_id, "evaluation")] == ["evaluation/augmented.keras"]
    assert sorted(each.name for each in project.iterdir()) == [".cvd", ".dvc", "models"]
    mlflow.set_tracking_uri(store_uri())
    pixels = np.full((2, 8, 8, 3), 100, np.float32)
    loaded = mlflow.keras.load_model(f"runs:/{run_id}/augmented")
    assert loaded.predict(pixels, verbose=0).shape == (2, 1)
    model.unlink()

    restored = write_workspace(project, "baseline", seed=22)
    assert sync()
    assert sync() == []
    (found,) = runs.find_runs(opened, {"model.md5": hash_file(restored, "md5")})
    assert found.data.metrics["test/accuracy"] == 0.75
    listing = tracking.list_runs("workspace")
    assert listing is not None
    rows = sorted(line.split()[:3] for line in format_table(listing.runs, "workspace").splitlines())
    assert rows[1:] == [  # which began first depends on how long the training took
        ["workspace/augmented", "trained", "0.7000"],
        ["workspace/baseline", "trained", "0.7500"],
    ]


def test_resumed_training_goes_on_at_a_server(project: Path, gate: gates.Gate) -> None:
    options = {"variant": "baseline", "stage": "train", "params": PARAMS, "data": {}, "resume_key": "key-server"}
    with pytest.raises(KeyboardInterrupt), tracking.track_training(**options) as first:
        first.log_epoch(1, EPOCH)
        raise KeyboardInterrupt
    with tracking.track_training(**options) as second:
        for epoch in (1, 2):
            second.log_epoch(epoch, EPOCH)
    assert second.run_id == first.run_id
    opened = gate._store
    assert opened is not None
    assert [point.step for point in opened.client.get_metric_history(first.run_id, "loss")] == [1, 2]
