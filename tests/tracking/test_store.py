"""Where the store is, and how it is made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tracking_samples import ROOT, save_model, train

from cvd.runtime.project import find_root, store_uri
from cvd.tracking import store, view
from cvd.tracking.gate import Gate


def test_root_is_dvc_root_or_the_nearest_with_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(inner)
    assert store_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    # A temporary copy of `dvc exp run --temp` has a .dvc of its own.
    monkeypatch.setenv("DVC_ROOT", str(tmp_path.parent))
    assert find_root() == tmp_path.parent
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert store_uri() == "http://127.0.0.1:1"


def test_stores_opened_at_once_make_one_experiment_quietly(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    code = "from cvd.tracking import store; print(store.open_store().experiment_id)"
    blank = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "DVC"))}
    environment = blank | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", code]
    several = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=240) for process in several]
    assert [process.returncode for process in several] == [0, 0, 0], answers
    assert set(answers) == {("1\n", "")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///runs/my.db", "sqlite:///{root}/runs/my.db"),
        ("sqlite:////srv/my.db", "sqlite:////srv/my.db"),
        ("sqlite:///file:my.db?mode=ro&uri=true", "sqlite:///file:my.db?mode=ro&uri=true"),
        ("https://host/path", "https://host/path"),
        ("", "sqlite:///{root}/mlflow.db"),
    ],
)
def test_relative_addresses_count_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "copy/.dvc").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    monkeypatch.chdir(tmp_path / "copy")
    assert store_uri() == expected.format(root=tmp_path / "root")


def test_own_database_and_experiment_are_made(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/my.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    gate._store = None
    run_id = train("baseline", model=save_model(tmp_path / "models/baseline.keras"))
    opened = gate._store
    assert opened is not None
    experiment = opened.client.get_experiment(opened.client.get_run(run_id).info.experiment_id)
    assert experiment.name == "mine"
    assert view.TAG in experiment.tags
    assert experiment.artifact_location == (tmp_path / "mlartifacts").as_uri()
    assert {path.name for path in tmp_path.iterdir()} == {".cvd", ".dvc", "mlartifacts", "models", "runs"}


def test_moved_and_copied_folders_keep_their_artifacts(
    gate: Gate, opened: store.Store, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    run_id = train("baseline", model=save_model(place / "models/baseline.keras", seed=70))
    new = tmp_path / "moved"
    shutil.copytree(place, new)
    monkeypatch.setenv("DVC_ROOT", str(new))
    gate.is_open, gate._store = True, None
    there = gate.attempt(lambda each: each)
    assert there is not None
    assert Path(there.client.get_run(run_id).info.artifact_uri.removeprefix("file://")).is_relative_to(new)
    assert there.client.get_experiment(there.experiment_id).artifact_location == (new / "mlartifacts").as_uri()
    mlflow.set_tracking_uri(store_uri())
    (place / "mlartifacts").rename(place / "away")
    try:
        pixels = np.zeros((1, 8, 8, 3), np.float32)
        assert mlflow.keras.load_model(f"runs:/{run_id}/baseline").predict(pixels, verbose=0).shape == (1, 1)
        assert mlflow.pyfunc.load_model(f"runs:/{run_id}/baseline").predict(pixels)["logit"].shape == (1,)
    finally:
        (place / "away").rename(place / "mlartifacts")
