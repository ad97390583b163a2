"""Runs of trainings, live."""

import base64
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from tracking_samples import EPOCH, PARAMS, ROOT, save_model, train

from cvd import tracking
from cvd.runtime.files import hash_file
from cvd.tracking import records, runs, store, view
from cvd.vis.charts.themes import choose_colours


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
        "model.md5": hash_file(model, "md5"),
    }
    assert {name: run.data.tags.get(name) for name in expected} == expected
    assert "`dvc exp apply tiny-mice`" in run.data.tags["mlflow.note.content"]
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
        for epoch in (1, 2):  # a resumed training tells of its finished epochs again
            second.log_epoch(epoch, EPOCH)
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
    dead = runs.start_run(opened, records.RunRecord("baseline", "workspace", "training", 1, tags=tags))
    alive = runs.start_run(
        opened, records.RunRecord("baseline", "workspace", "training", 1, tags=records.describe_process())
    )
    train()
    assert opened.client.get_run(dead).info.status == "KILLED"
    assert opened.client.get_run(alive).info.status == "RUNNING"
    runs.end_run(opened, alive, "FINISHED")


def test_runs_have_their_variants_colours_and_new_ones_another_shade() -> None:
    assert choose_colours(view.COLOURS) == view.COLOURS
    for variant, colour in view.COLOURS.items():
        taken: list[str] = []  # newest first
        for _ in range(5):
            taken.insert(0, view.choose_colour(variant, taken)["mlflow.runColor"])
        assert taken[-1] == colour
        assert len(set(taken)) == 5
        assert all(re.fullmatch("#[0-9a-f]{6}", shade) for shade in taken)
        assert view.choose_colour(variant, taken) == {"mlflow.runColor": colour}, "the one used longest ago"
    assert view.choose_colour("residual", ["#123456"]) == {}


def test_import_loads_no_mlflow() -> None:
    code = "import sys, cvd.tracking; assert not {'mlflow', 'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
