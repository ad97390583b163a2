"""Completing MLflow from files."""

import json
import shutil
from pathlib import Path

import pytest
from tracking_samples import EPOCH, PARAMS, write_workspace

from cvd import tracking
from cvd.runtime.errors import InputError
from cvd.runtime.experiments import read_lock
from cvd.runtime.files import hash_file
from cvd.tracking import records, runs, store


@pytest.fixture
def workspace(opened: store.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the store is the shared one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(opened.root))
    return tmp_path


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
    lines = tracking.sync_workspace(PARAMS)
    assert lines
    assert lines[0] == "workspace/augmented: made from its files, 2 epochs"
    (run,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
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
    assert tracking.sync_workspace(PARAMS) == []
    assert len(runs.find_runs(opened, {"model.sha256": hash_file(model)})) == 1
    (workspace / "plots/comparison/curves.png").write_text("another variant was trained since")
    assert tracking.sync_workspace(PARAMS) == ["workspace/augmented: 1 files of comparison"]


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
    assert tracking.sync_workspace(PARAMS) == []
    (done,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    assert done.data.metrics["explanations/hirescam/conv4/animal_pointing"] == 0.8
    folders = {entry.path for entry in opened.client.list_artifacts(done.info.run_id)}
    assert folders == {"training", "evaluation", "filters", "gradcam", "comparison"}


def test_an_experiment_that_changes_pictures_of_another_s_model_has_no_blank_run(
    opened: store.Store, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_workspace(workspace, "baseline", seed=6)
    tracking.sync_workspace(PARAMS)
    write_lock(workspace, "baseline")
    monkeypatch.setenv("DVC_EXP_NAME", "old-oak")
    records.describe_origin.cache_clear()
    tracking.complete_results(PARAMS)
    (source,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    assert source.data.tags["groups"].split() == ["old-oak", "workspace"], "nothing differs: the run joins the group"

    monkeypatch.setenv("DVC_EXP_NAME", "new-oak")
    records.describe_origin.cache_clear()
    Path("plots/filters/baseline/conv1.png").write_text("more steps")
    tracking.complete_results(PARAMS)
    (own,) = runs.find_runs(opened, {"dvc.exp_name": "new-oak"})
    assert own.data.tags["kind"] == "evaluation"
    assert own.data.metrics["test/accuracy"] == 0.75
    assert own.data.params == source.data.params
    assert [entry.path for entry in opened.client.list_artifacts(own.info.run_id)] == ["filters"]
    assert opened.client.get_run(source.info.run_id).data.tags["groups"].split() == ["old-oak", "workspace"]


def test_the_comparison_of_another_experiment_does_not_reach_the_run_of_a_model(
    opened: store.Store, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows from all variants; what it says of this model's training is that experiment's."""
    model = write_workspace(workspace, "baseline", seed=14)
    tracking.sync_workspace(PARAMS)
    write_lock(workspace, "baseline")
    (run,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    stored = opened.root / f"mlartifacts/{run.info.run_id}/artifacts/comparison/curves.png"
    assert stored.read_text() == "picture"

    def complete(text: str) -> str:
        Path("plots/comparison/curves.png").write_text(text)
        records.describe_origin.cache_clear()
        tracking.complete_results(PARAMS)
        return stored.read_text()

    monkeypatch.setenv("DVC_EXP_NAME", "shy-hare")
    assert complete("of another experiment") == "picture"
    assert not runs.find_runs(opened, {"dvc.exp_name": "shy-hare"})
    monkeypatch.delenv("DVC_EXP_NAME")
    assert complete("second") == "second"


def test_a_model_of_other_data_than_the_lock_names_is_left_out(
    opened: store.Store, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_workspace(workspace, "baseline", seed=13)
    tracking.sync_workspace(PARAMS)
    write_lock(workspace, "baseline", manifest="photos")
    assert not read_lock()["baseline"].is_current
    monkeypatch.setenv("DVC_EXP_NAME", "photo-ox")
    tracking.complete_results(PARAMS)
    (run,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    assert run.data.tags["groups"].split() == ["workspace"]


def test_sync_brings_explanations_to_a_run_that_has_all_else(opened: store.Store, workspace: Path) -> None:
    model = write_workspace(workspace, "baseline", seed=9)
    path = Path("metrics/explanations/baseline.json")
    text = path.read_text()
    path.unlink()
    tracking.sync_workspace(PARAMS)
    path.write_text(text)
    assert tracking.sync_workspace(PARAMS) == ["workspace/baseline: figures of explanations"]
    path.write_text(text.replace("0.9", "0.95"))
    assert tracking.sync_workspace(PARAMS) == ["workspace/baseline: figures of explanations"]
    (run,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    assert run.data.metrics["explanations/gradcamplusplus/animal_pointing"] == 0.95
    assert tracking.sync_workspace(PARAMS) == []
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
    assert tracking.sync_workspace(PARAMS) == []  # measured on another model than the one that is here
    lock["stages"]["explanations@baseline"]["deps"] = [{"path": "models", "md5": "old.dir"}]  # as of `compare`
    Path("dvc.lock").write_text(json.dumps(lock))
    assert tracking.sync_workspace(PARAMS) == []


def test_damaged_file_is_named(opened: store.Store, workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_workspace(workspace, "baseline", seed=10)
    Path("metrics/baseline.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics/baseline\.json is damaged"):
        tracking.sync_workspace(PARAMS)
    assert not capfd.readouterr().err, "MLflow can be used"


@pytest.mark.parametrize("content", ['{"Record": {"variant": "baseline"}}', "{"])
def test_record_that_cannot_be_read_is_named_and_left(
    opened: store.Store, workspace: Path, capfd: pytest.CaptureFixture[str], content: str
) -> None:
    """It is another version's, or damaged."""
    folder = opened.root / ".cvd/unsent/1-baseline-1-the-training"
    folder.mkdir(parents=True)
    (folder / "fields.json").write_text(content)
    try:
        tracking.add_to_run(variant="baseline", model_path=write_workspace(workspace, "baseline", seed=11))
        assert not capfd.readouterr().err, "only `cvd sync` names it"
        named = [line for line in tracking.sync_workspace(PARAMS) or [] if line.startswith(f"{folder} cannot be read")]
        assert len(named) == 1
        assert folder.is_dir()
    finally:
        shutil.rmtree(folder)


def test_sync_completes_an_evaluation_that_came_first(opened: store.Store, workspace: Path) -> None:
    model = write_workspace(workspace, "baseline", seed=5)
    tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.75}})
    (before,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    tracking.sync_workspace(PARAMS)
    (after,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    assert before.info.run_id == after.info.run_id
    assert after.data.tags["kind"] == "training"
    assert after.data.metrics["val_accuracy"] == 0.7
    assert after.data.params["seed"] == "1"
