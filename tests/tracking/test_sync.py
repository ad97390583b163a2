"""Completing MLflow from files."""

import json
from pathlib import Path

import pytest
from tracking_samples import EPOCH, PARAMS, draw, sync, write_workspace

from cvd import tracking
from cvd.runtime.experiments import read_lock
from cvd.runtime.files import hash_file
from cvd.tracking import gate as gates
from cvd.tracking import records, runs, store


def write_lock(folder: Path, variant: str, *, manifest: str = "drawn") -> None:
    """A dvc.lock whose model was trained on the drawn images."""
    model = {"path": f"models/{variant}.keras", "md5": hash_file(folder / f"models/{variant}.keras", "md5")}
    stages = {
        "split": {"outs": [{"path": "data/manifest.csv", "md5": manifest}]},
        f"train@{variant}": {"deps": [{"path": "data/manifest.csv", "md5": "drawn"}], "outs": [model]},
    }
    (folder / "dvc.lock").write_text(json.dumps({"stages": stages}))


def test_sync_brings_in_what_dvc_restored_and_twice_is_as_once(opened: store.Store, workspace: Path) -> None:
    model = write_workspace(workspace, "augmented", seed=4)
    lines = sync()
    assert lines
    assert lines[0] == "workspace/augmented: made from its files, 2 epochs"
    (run,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert run.info.status == "FINISHED"
    assert run.data.tags["restored"] == "true"
    assert run.data.tags["processor"] == "abacus"
    assert run.data.metrics["test/accuracy"] == 0.75
    assert {name: value for name, value in run.data.metrics.items() if name.startswith("explanations/")} == {
        "explanations/gradcamplusplus/animal_pointing": 0.9,
        "explanations/hirescam/conv1/animal_pointing": 0.5,
        "explanations/hirescam/conv4/animal_pointing": 0.8,
        "explanations/chance/animal_pointing": 0.5,
    }
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
    assert sync() == []
    assert len(runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})) == 1
    (workspace / "plots/comparison/curves.png").write_bytes(draw("another variant was trained since"))
    assert sync() == ["workspace/augmented: 1 files of comparison"]


def test_sync_has_nothing_to_do_after_the_stages(opened: store.Store, workspace: Path) -> None:
    model = write_workspace(workspace, "baseline", seed=7).relative_to(workspace)
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
    write_lock(workspace, "baseline")
    tracking.complete_results(PARAMS)  # as the report's stage does, for the exports
    assert sync() == []
    (done,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert done.data.metrics["explanations/hirescam/conv4/animal_pointing"] == 0.8
    folders = {entry.path for entry in opened.client.list_artifacts(done.info.run_id)}
    assert folders == {"training", "evaluation", "filters", "gradcam", "comparison", "images"}


def test_an_experiment_that_changes_pictures_of_another_s_model_has_no_blank_run(
    opened: store.Store, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_workspace(workspace, "baseline", seed=6)
    sync()
    write_lock(workspace, "baseline")
    monkeypatch.setenv("DVC_EXP_NAME", "old-oak")
    records.describe_origin.cache_clear()
    tracking.complete_results(PARAMS)
    (source,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert source.data.tags["groups"].split() == ["old-oak", "workspace"], "nothing differs: the run joins the group"

    monkeypatch.setenv("DVC_EXP_NAME", "new-oak")
    records.describe_origin.cache_clear()
    Path("plots/filters/baseline/conv1.png").write_bytes(draw("more steps"))
    tracking.complete_results(PARAMS)
    (own,) = runs.find_runs(opened, {"dvc.exp_name": "new-oak"})
    assert own.data.tags["kind"] == "evaluation"
    assert own.data.metrics["test/accuracy"] == 0.75
    assert own.data.params == source.data.params
    assert [entry.path for entry in opened.client.list_artifacts(own.info.run_id)] == ["filters", "images"]
    assert opened.client.get_run(source.info.run_id).data.tags["groups"].split() == ["old-oak", "workspace"]


def test_the_comparison_of_another_experiment_does_not_reach_the_run_of_a_model(
    opened: store.Store, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows from all variants; what it says of this model's training is that experiment's."""
    model = write_workspace(workspace, "baseline", seed=14)
    sync()
    write_lock(workspace, "baseline")
    (run,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    stored = opened.root / f"mlartifacts/{run.info.run_id}/artifacts/comparison/curves.png"
    assert stored.read_bytes() == draw("picture")

    def complete(text: str) -> str:
        Path("plots/comparison/curves.png").write_bytes(draw(text))
        records.describe_origin.cache_clear()
        tracking.complete_results(PARAMS)
        return next(known for known in ("picture", "second", text) if stored.read_bytes() == draw(known))

    monkeypatch.setenv("DVC_EXP_NAME", "shy-hare")
    assert complete("of another experiment") == "picture"
    assert not runs.find_runs(opened, {"dvc.exp_name": "shy-hare"})
    monkeypatch.delenv("DVC_EXP_NAME")
    assert complete("second") == "second"


def test_a_model_of_other_data_than_the_lock_names_is_left_out(
    opened: store.Store, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_workspace(workspace, "baseline", seed=13)
    sync()
    write_lock(workspace, "baseline", manifest="photos")
    assert not read_lock()["baseline"].is_current
    monkeypatch.setenv("DVC_EXP_NAME", "photo-ox")
    tracking.complete_results(PARAMS)
    (run,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert run.data.tags["groups"].split() == ["workspace"]


def test_sync_brings_explanations_to_a_run_that_has_all_else(opened: store.Store, workspace: Path) -> None:
    model = write_workspace(workspace, "baseline", seed=9)
    path = Path("metrics/explanations/baseline.json")
    text = path.read_text()
    path.unlink()
    sync()
    path.write_text(text)
    assert sync() == ["workspace/baseline: figures of explanations"]
    path.write_text(text.replace("0.9", "0.95"))
    assert sync() == ["workspace/baseline: figures of explanations"]
    (run,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert run.data.metrics["explanations/gradcamplusplus/animal_pointing"] == 0.95
    assert sync() == []
    lock = {
        "stages": {
            "train@baseline": {"outs": [{"path": "models/baseline.keras", "md5": "new"}]},
            "explanations@baseline": {
                "deps": [{"path": "models/baseline.keras", "md5": "old"}],
                "outs": [{"path": "metrics/explanations/baseline.json", "md5": "any"}],
            },
        }
    }
    Path("dvc.lock").write_text(json.dumps(lock))
    path.write_text(text)
    assert sync() == []  # measured on another model than the one that is here
    lock["stages"]["explanations@baseline"]["deps"] = [{"path": "models", "md5": "old.dir"}]  # as of `compare`
    Path("dvc.lock").write_text(json.dumps(lock))
    assert sync() == []


def test_what_cannot_be_sent_is_set_aside_by_name_and_the_rest_goes_on(
    opened: store.Store, workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_workspace(workspace, "augmented", seed=10)
    write_workspace(workspace, "baseline", seed=10)
    write_workspace(workspace, "tfrecord", seed=12)
    Path("models/augmented.history.csv").write_text("epoch,loss\nfirst,1\n")
    Path("metrics/baseline.json").write_text("{")
    Path("plots/gradcam/baseline/a.png").write_text("no picture")
    synced = tracking.sync_workspace(PARAMS)
    assert synced is not None
    assert [fault.partition(":")[0] for fault in synced.faults] == [
        "workspace/augmented is set aside",
        "workspace/baseline, evaluation is set aside",
        "workspace/baseline, gradcam is set aside",
    ]
    assert "metrics/baseline.json is damaged" in synced.faults[1]
    assert "workspace/tfrecord: made from its files, 2 epochs" in synced.sent
    assert "workspace/baseline: 1 files of filters" in synced.sent
    assert not capfd.readouterr().err, "MLflow can be used"
    write_workspace(workspace, "augmented", seed=10)
    write_workspace(workspace, "baseline", seed=10)
    assert {line.partition(":")[0] for line in sync()} == {"workspace/augmented", "workspace/baseline"}
    assert sync() == []


def test_a_deleted_run_is_made_again(opened: store.Store, workspace: Path) -> None:
    model = write_workspace(workspace, "baseline", seed=16)
    sync()
    digest = {"model.md5": hash_file(model, "md5")}
    (run,) = runs.find_runs(opened, digest)
    opened.client.delete_run(run.info.run_id)
    assert sync()[0] == "workspace/baseline: made from its files, 2 epochs"
    (again,) = runs.find_runs(opened, digest)
    assert again.data.metrics == run.data.metrics
    assert sync() == []


def test_trial_of_a_search_is_made_from_its_note(
    opened: store.Store, gate: gates.Gate, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_trial(name: str) -> None:
        note = workspace / f"searches/wide/trials/{name}/run.json"
        options = {"stage": "search", "params": PARAMS, "data": {}, "search": "wide", "note": note}
        with tracking.track_training(variant=f"baseline {name}", **options) as run:
            run.log_epoch(1, EPOCH)
            run.log_figures({"validation/accuracy": 0.5}, "search")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    gate._store = None
    train_trial("width=2")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    gate.is_open, gate._store = True, opened
    train_trial("width=4")
    assert sync() == ["wide/baseline width=2: made from searches/wide/trials/width=2/run.json, 1 epochs"]
    late, live = sorted(runs.find_runs(opened, {"search": "wide"}), key=lambda run: run.info.start_time)
    curves = [
        {name: run.data.metrics[name] for name in run.data.metrics if "system/" not in name} for run in (late, live)
    ]
    assert curves[0] == curves[1]
    assert (late.data.params, late.info.status) == (live.data.params, "FINISHED")
    assert late.data.metrics["validation/accuracy"] == 0.5
    assert sync() == []


def test_sync_completes_an_evaluation_that_came_first(opened: store.Store, workspace: Path) -> None:
    model = write_workspace(workspace, "baseline", seed=5)
    tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.75}})
    (before,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    sync()
    (after,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert before.info.run_id == after.info.run_id
    assert after.data.tags["kind"] == "training"
    assert after.data.metrics["val_accuracy"] == 0.7
    assert after.data.params["seed"] == "1"
