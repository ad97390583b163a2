"""Real sqlite stores; one is shared by the module, as making one takes seconds."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cvd import tracking
from cvd.params import load_params
from cvd.tracking import additions, records, runs, store, sync, view
from cvd.tracking import gate as gates
from cvd.tracking import training as live

ROOT = Path(__file__).parent.parent
PARAMS = {
    "seed": 1,
    "augment": {"rotation_degrees": 40.0},
    "backbone": {"name": "MobileNetV2"},
    "gradcam": {"top": 3},
    "variants": {
        "baseline": {"input": "files", "network": "plain", "augment": False, "epochs": 3},
        "augmented": {"input": "files", "network": "plain", "augment": True, "epochs": 3},
    },
}
EPOCH = {"loss": 0.5, "accuracy": 0.9, "val_loss": 0.8, "val_accuracy": 0.7, "learning_rate": 1e-4}
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),  # mlflow's own use of SQLAlchemy
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),  # Keras' of NumPy
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a store in it, and the working folder."""
    root = tmp_path_factory.mktemp("project")
    (root / ".dvc").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.chdir(root)
        patch.setattr(gates.GATE, "_store", None)
        yield root


@pytest.fixture
def gate(place: Path, monkeypatch: pytest.MonkeyPatch) -> gates.Gate:
    """A gate as a new process has it, onto the shared store."""
    gate = gates.Gate()
    gate._store = gates.GATE._store
    for module in (gates, live, additions, sync):
        monkeypatch.setattr(module, "GATE", gate)
    records.describe_origin.cache_clear()
    monkeypatch.chdir(place)
    return gate


@pytest.fixture
def opened(gate: gates.Gate) -> store.Store:
    """The shared store, open."""
    found = gate.attempt(lambda each: each)
    assert found is not None
    gates.GATE._store = found
    return found


def save_model(path: Path, seed: int = 0, side: int = 8) -> Path:
    """A tiny network on pixels."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = [
        keras.Input((side, side, 3)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(1),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.Sequential(layers).save(path)
    return path


def train(variant: str = "baseline", *, model: Path | None = None, n_epochs: int = 2, **options: object) -> str:
    """A tracked training that trains nothing; returns the run's id."""
    arguments = {"stage": f"train@{variant}", "params": PARAMS, "data": {"manifest": "ab" * 32}, **options}
    with tracking.track_training(variant=variant, **arguments) as run:
        for epoch in range(1, n_epochs + 1):
            run.log_epoch(epoch, EPOCH)
        if model is not None:
            run.log_model(model, np.zeros((2, 8, 8, 3), np.uint8))
    return run.run_id


def test_root_is_dvc_root_or_the_nearest_with_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(inner)
    assert tracking.store_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    # A temporary copy of `dvc exp run --temp` has a .dvc of its own.
    monkeypatch.setenv("DVC_ROOT", str(tmp_path.parent))
    assert tracking.find_root() == tmp_path.parent
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking.store_uri() == "http://127.0.0.1:1"


def test_params_of_other_variants_and_exports_are_left_out() -> None:
    assert records.name_params(PARAMS, "baseline") == {
        "seed": "1",
        "variant.input": "files",
        "variant.network": "plain",
        "variant.augment": "False",
        "variant.epochs": "3",
    }
    assert records.name_params(PARAMS, "augmented")["augment.rotation_degrees"] == "40.0"
    assert "backbone.name" not in records.name_params(PARAMS, "augmented")


def test_params_are_those_that_the_stage_follows_from() -> None:
    params = load_params(ROOT / "params.yaml").model_dump(mode="json")
    own = {"seed", "train", "variant"}
    expected = {
        "baseline": {"image"},
        "augmented": {"image", "augment"},
        "tfrecord": {"image"},
        "transfer": {"backbone"},
    }
    for variant, sections in expected.items():
        assert {name.split(".")[0] for name in records.name_params(params, variant)} == own | sections


def test_gaps_are_train_minus_validation_and_validation_minus_train() -> None:
    full = records.complete_epoch(EPOCH)
    assert full["gap_accuracy"] == pytest.approx(0.2)
    assert full["gap_loss"] == pytest.approx(0.3)
    assert records.complete_epoch({"loss": 1.0}) == {"loss": 1.0}


def test_metrics_are_numbers_joined_by_slashes() -> None:
    nested = {"test": {"accuracy": 0.7, "confusion": [[1, 2], [3, 4]]}, "note": "text", "ok": True, "n": np.float32(2)}
    assert records.name_metrics(nested) == {"test/accuracy": 0.7, "n": 2.0}


def test_details_count_as_if_they_stood_outside() -> None:
    nested = {"test": {"accuracy": 0.7, "classes": [{"recall": 1.0}], "details": [{"brier": 0.2, "note": "text"}]}}
    assert records.name_metrics(nested) == {"test/accuracy": 0.7, "test/brier": 0.2}


def test_run_is_complete_and_linked(place: Path, opened: store.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tiny-mice")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "f" * 40)
    monkeypatch.setenv("DVC_STAGE", "train@augmented")
    records.describe_origin.cache_clear()
    model = save_model(place / "models/augmented.keras")
    run_id = train("augmented", model=model, precision="float32", processor="abacus")
    run = opened.client.get_run(run_id)
    assert run.info.run_name == "tiny-mice/augmented"
    assert run.info.status == "FINISHED"
    expected = {
        "variant": "augmented",
        "kind": "training",
        "group": "tiny-mice",
        "dvc.exp_name": "tiny-mice",
        "dvc.baseline_rev": "f" * 40,
        "dvc.stage": "train@augmented",
        "data.manifest": "ab" * 32,
        "precision": "float32",
        "processor": "abacus",
        "model.sha256": records.hash_file(model),
    }
    assert {name: run.data.tags.get(name) for name in expected} == expected
    assert {"git.commit", "git.dirty", "params.digest"} <= run.data.tags.keys()
    assert run.data.params["augment.rotation_degrees"] == "40.0"
    curve = opened.client.get_metric_history(run_id, "gap_accuracy")
    assert [(point.step, round(point.value, 6)) for point in curve] == [(1, 0.2), (2, 0.2)]
    assert run.inputs.dataset_inputs[0].dataset.name == "manifest"
    experiment = opened.client.get_experiment(opened.experiment_id)
    assert experiment.artifact_location == (place / "mlartifacts").as_uri()
    assert "gap_accuracy" in experiment.tags["mlflow.note.content"]
    saved = json.loads(experiment.tags[view.TAG])
    state = json.loads(zlib.decompress(base64.b64decode(saved["state"].removeprefix("deflate;"))))
    sections = {each["uuid"] for each in state["compareRunSections"]}
    assert {each["metricSectionId"] for each in state["compareRunCharts"]} == sections
    assert not (place / "mlruns").exists()


def test_logged_model_is_the_file_and_loads(place: Path, opened: store.Store) -> None:
    import keras
    import mlflow

    model = save_model(place / "models/baseline.keras", seed=1)
    begin = time.perf_counter()
    run_id = train(model=model)
    assert time.perf_counter() - begin < 5
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    expected = keras.models.load_model(model).predict(pixels, verbose=0)
    mlflow.set_tracking_uri(tracking.store_uri())
    uri = f"runs:/{run_id}/model"
    assert np.array_equal(mlflow.keras.load_model(uri).predict(pixels, verbose=0), expected)
    loaded = mlflow.pyfunc.load_model(uri)
    assert np.array_equal(loaded.predict(pixels), expected)
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 8, 8, 3)
    # A signature knows one type, so that pyfunc refuses uint8, which the model itself takes: the model says so.
    with pytest.raises(mlflow.MlflowException, match="dtype of input uint8"):
        loaded.predict(pixels.astype(np.uint8))
    whole = np.round(pixels).astype(np.uint8)
    by_keras = mlflow.keras.load_model(uri)
    assert np.array_equal(by_keras.predict(whole, verbose=0), loaded.predict(whole.astype(np.float32)))
    assert loaded.metadata.metadata["input"].endswith("float32 or uint8; by mlflow.pyfunc float32 only")
    logged = opened.client.get_logged_model(opened.client.get_run(run_id).outputs.model_outputs[0].model_id)
    folder = Path(logged.artifact_location.removeprefix("file://"))
    assert (folder / "data/model.keras").read_bytes() == model.read_bytes()
    assert {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()} >= {
        "tensorflow",
        "keras",
    }
    assert (folder / "input_example.json").exists()


def test_failed_and_interrupted_trainings_say_so(opened: store.Store) -> None:
    for error, status in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        with (
            pytest.raises(error),
            tracking.track_training(variant="baseline", stage="train", params={}, data={}) as run,
        ):
            raise error
        assert opened.client.get_run(run.run_id).info.status == status


def test_resumed_training_goes_on_in_its_run(opened: store.Store) -> None:
    with (
        pytest.raises(ValueError, match="power cut"),
        tracking.track_training(variant="baseline", stage="train", params=PARAMS, data={}, resume_key="key-1") as first,
    ):
        first.log_epoch(1, EPOCH)
        raise ValueError("power cut")
    with tracking.track_training(
        variant="baseline", stage="train", params=PARAMS, data={}, resume_key="key-1"
    ) as second:
        second.log_epoch(2, EPOCH)
    assert second.run_id == first.run_id
    assert [point.step for point in opened.client.get_metric_history(first.run_id, "loss")] == [1, 2]
    assert opened.client.get_run(first.run_id).info.status == "FINISHED"
    with tracking.track_training(
        variant="baseline", stage="train", params=PARAMS, data={}, resume_key="key-1"
    ) as third:
        pass
    assert third.run_id != first.run_id, "a finished training was done anew"


def test_run_of_a_dead_process_is_marked_at_the_next_start(opened: store.Store) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    tags = records.describe_process() | {"process.pid": str(process.pid)}
    dead = runs.start_run(opened, records.Record("baseline", "workspace", "training", 1, tags=tags))
    alive = runs.start_run(
        opened, records.Record("baseline", "workspace", "training", 1, tags=records.describe_process())
    )
    train()
    assert opened.client.get_run(dead).info.status == "KILLED"
    assert opened.client.get_run(alive).info.status == "RUNNING"
    runs.end_run(opened, alive, "FINISHED")


def test_process_is_told_by_boot_and_start() -> None:
    tags = records.describe_process()
    assert not records.is_dead(tags)
    assert records.is_dead(tags | {"process.boot_id": "another"})
    assert records.is_dead(tags | {"process.started": "1"}), "the number went to a later process"
    assert not records.is_dead(tags | {"process.host": "elsewhere"})
    assert not records.is_dead({})


def test_additions_go_to_the_newest_run_of_the_very_model(place: Path, opened: store.Store, tmp_path: Path) -> None:
    model = save_model(place / "models/baseline.keras", seed=2)
    train(model=model)
    run_id = train(model=model)
    train()  # another, without this model
    for name in ("one/baseline.csv", "two/baseline.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    files = sorted(tmp_path.rglob("*.csv"))
    for _ in range(2):
        tracking.add_to_run(
            variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.7}}, files=files, folder="evaluation"
        )
    assert opened.client.get_run(run_id).data.metrics["test/accuracy"] == 0.7
    assert len(opened.client.get_metric_history(run_id, "test/accuracy")) == 1
    folders = {entry.path for entry in opened.client.list_artifacts(run_id, "evaluation")}
    assert folders == {"evaluation/one", "evaluation/two"}
    assert (place / f"mlartifacts/{run_id}/artifacts/evaluation/two/baseline.csv").read_text() == "two/baseline.csv"


def test_evaluation_in_another_experiment_points_to_its_source(
    place: Path, opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(place / "models/baseline.keras", seed=3)
    source = train(model=model)
    tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.7}})
    monkeypatch.setenv("DVC_EXP_NAME", "odd-owl")
    records.describe_origin.cache_clear()
    tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.7}})
    assert not runs.find_runs(opened, {"dvc.exp_name": "odd-owl"}), "the training has these figures already"
    for value in (0.8, 0.9):
        tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": value}})
    (own,) = runs.find_runs(opened, {"dvc.exp_name": "odd-owl"})
    assert own.data.tags["source_run_id"] == source
    assert own.data.tags["kind"] == "evaluation"
    assert own.data.metrics["test/accuracy"] == 0.9
    assert own.data.params == opened.client.get_run(source).data.params
    assert own.info.status == "FINISHED"


def test_what_follows_from_all_variants_goes_only_to_own_runs(
    place: Path, opened: store.Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = save_model(place / "models/baseline.keras", seed=8)
    trained = train(model=model)
    picture = tmp_path / "curves.png"

    def compare(text: str) -> None:
        picture.write_text(text)
        records.describe_origin.cache_clear()
        tracking.add_to_run(variant="baseline", model_path=model, files=[picture], folder="comparison", only_own=True)

    def read() -> str:
        return (place / f"mlartifacts/{trained}/artifacts/comparison/curves.png").read_text()

    compare("first")
    assert read() == "first"
    monkeypatch.setenv("DVC_EXP_NAME", "shy-hare")
    compare("of another experiment")
    assert not runs.find_runs(opened, {"dvc.exp_name": "shy-hare"})
    assert read() == "first"
    monkeypatch.delenv("DVC_EXP_NAME")
    compare("second")
    assert read() == "second"


def write_workspace(root: Path, variant: str, seed: int) -> Path:
    """What `dvc checkout` leaves of a training, an evaluation and an export."""
    model = save_model(root / f"models/{variant}.keras", seed)
    history = (
        "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n1,0.7,0.5,0.7,0.5,0.0001\n2,0.5,0.8,0.6,0.7,0.0001\n"
    )
    timing = {"images_per_second": 100.0, "seconds": 10.0, "seconds_per_epoch": [5.0, 5.0], "device": "abacus"}
    texts = {
        f"models/{variant}.history.csv": history,
        f"models/{variant}.timing.json": json.dumps(timing),
        f"models/{variant}.training.json": json.dumps({"epochs": 2, "precision": "float32"}),
        f"metrics/{variant}.json": json.dumps({"test": {"accuracy": 0.75}}),
        f"predictions/{variant}.csv": "path\n",
        f"plots/gradcam/{variant}/a.png": "picture",
        f"plots/gradcam/{variant}/a/conv1_dog.png": "picture",
        "plots/gradcam/a.png": "picture",
        f"plots/filters/{variant}/conv1.png": "picture",
        "plots/comparison/curves.png": "picture",
        "data/manifest.csv": "path\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return model


def test_sync_brings_in_what_dvc_restored_and_twice_is_as_once(
    opened: store.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(opened.root))
    model = write_workspace(tmp_path, "augmented", seed=4)
    lines = tracking.sync_workspace(PARAMS)
    assert lines
    assert lines[0] == "workspace/augmented: made from its files, 2 epochs"
    (run,) = runs.find_runs(opened, {"model.sha256": records.hash_file(model)})
    assert run.info.status == "FINISHED"
    assert run.data.tags["restored"] == "true"
    assert run.data.tags["processor"] == "abacus"
    assert run.data.metrics["test/accuracy"] == 0.75
    assert run.data.metrics["images_per_second"] == 100
    assert run.data.params["variant.epochs"] == "3"
    assert run.info.end_time - run.info.start_time == 10_000
    points = opened.client.get_metric_history(run.info.run_id, "gap_loss")
    assert [(point.step, round(point.value, 6)) for point in points] == [(1, 0.0), (2, 0.1)]
    paths = {
        entry.path
        for folder in ("gradcam", "filters")
        for entry in opened.client.list_artifacts(run.info.run_id, folder)
    }
    assert paths == {"gradcam/a.png", "filters/conv1.png"}
    shared = [entry.path for entry in opened.client.list_artifacts(run.info.run_id, "comparison")]
    assert shared == ["comparison/curves.png"]
    assert run.outputs.model_outputs
    assert tracking.sync_workspace(PARAMS) == []
    assert len(runs.find_runs(opened, {"model.sha256": records.hash_file(model)})) == 1
    (tmp_path / "plots/comparison/curves.png").write_text("another variant was trained since")
    assert tracking.sync_workspace(PARAMS) == []


def test_sync_has_nothing_to_do_after_the_stages(
    opened: store.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(opened.root))
    model = write_workspace(tmp_path, "baseline", seed=7).relative_to(tmp_path)
    with tracking.track_training(variant="baseline", stage="train", params=PARAMS, data={}) as run:
        for epoch in (1, 2):
            run.log_epoch(epoch, EPOCH)
        run.log_files(
            [f"models/baseline.{name}" for name in ("history.csv", "training.json", "timing.json")], "training"
        )
        run.log_model(model)
    metrics = json.loads(Path("metrics/baseline.json").read_text())
    files = [Path("metrics/baseline.json"), Path("predictions/baseline.csv")]
    tracking.add_to_run(variant="baseline", model_path=model, metrics=metrics, files=files, folder="evaluation")
    for folder, file in (("filters", "plots/filters/baseline/conv1.png"), ("gradcam", "plots/gradcam/baseline/a.png")):
        tracking.add_to_run(variant="baseline", model_path=model, files=[Path(file)], folder=folder)
    assert tracking.sync_workspace(PARAMS) == []


def test_sync_completes_an_evaluation_that_came_first(
    opened: store.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(opened.root))
    model = write_workspace(tmp_path, "baseline", seed=5)
    tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.75}})
    (before,) = runs.find_runs(opened, {"model.sha256": records.hash_file(model)})
    tracking.sync_workspace(PARAMS)
    (after,) = runs.find_runs(opened, {"model.sha256": records.hash_file(model)})
    assert before.info.run_id == after.info.run_id
    assert after.data.tags["kind"] == "training"
    assert after.data.metrics["val_accuracy"] == 0.7
    assert after.data.params["seed"] == "1"


def test_dead_server_costs_little_and_the_run_is_sent_later(
    opened: store.Store,
    gate: gates.Gate,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    place: Path,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    gate._store = None
    model = save_model(place / "models/baseline.keras", seed=6)
    begin = time.perf_counter()
    train(model=model)
    tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.7}})
    assert time.perf_counter() - begin < 3
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: MLflow at http://127.0.0.1:9 cannot be used")
    (kept,) = (place / ".cvd/unsent").glob("*.json")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    gate.is_open, gate._store = True, opened
    assert "workspace/baseline: sent what was kept" in (tracking.sync_workspace(PARAMS) or [])
    assert not kept.exists()
    (run,) = runs.find_runs(opened, {"model.sha256": records.hash_file(model)})
    assert run.info.status == "FINISHED"
    assert [point.step for point in opened.client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    assert run.outputs.model_outputs
    assert tracking.sync_workspace(PARAMS) == []


def test_server_that_dies_in_between_keeps_the_run_whole(
    opened: store.Store, gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with tracking.track_training(variant="baseline", stage="train", params=PARAMS, data={}) as run:
        run.log_epoch(1, EPOCH)
        with monkeypatch.context() as patch:
            patch.setattr(type(opened.client), "log_batch", refuse)
            run._next_send = 0.0
            run.log_epoch(2, EPOCH)
        run.log_epoch(3, EPOCH)
    assert opened.client.get_run(run.run_id).info.status == "RUNNING"
    gate.is_open = True
    tracking.sync_workspace(PARAMS)
    assert opened.client.get_run(run.run_id).info.status == "FINISHED"
    assert [point.step for point in opened.client.get_metric_history(run.run_id, "loss")] == [1, 2, 3]


def test_server_that_hangs_is_given_up_and_left_alone(
    gate: gates.Gate, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "PROBE_S", 0.3)
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
    monkeypatch.setattr(gates, "BUDGET_S", 0.5)
    gate._store = SimpleNamespace()  # type: ignore[assignment]
    over = threading.Event()
    begin = time.perf_counter()
    assert gate.attempt(lambda _: over.wait(20)) is None
    assert time.perf_counter() - begin < 2
    assert gate.attempt(lambda _: 1) is None
    over.set()
    assert "too slow" in capfd.readouterr().err
    store.held_file().unlink()


def test_input_shape_is_read_without_loading(tmp_path: Path) -> None:
    config = {"config": {"layers": [{"config": {"batch_shape": [None, 150, 150, 3]}}]}}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert runs.read_input_shape(tmp_path / "m.keras") == (150, 150, 3)


def test_stores_opened_at_once_make_one_experiment_quietly(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    code = "from cvd.tracking import store; print(store.open_store().experiment_id)"
    blank = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "DVC"))}
    environment = blank | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", code]
    both = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert answers[0] == answers[1] == ("1\n", "")


def test_import_loads_no_mlflow() -> None:
    code = "import sys, cvd.tracking; assert not {'mlflow', 'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_model_layout_follows_keras(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert runs.read_input_shape(save_model(tmp_path / "m.keras", side=9)) == (9, 9, 3)
