"""What is known of a run, and how it is named."""

import numpy as np
import pytest
from tracking_samples import EPOCH, PARAMS, ROOT

from cvd.runtime.params.loading import load_params
from cvd.tracking import records, runs, store


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


def test_metrics_have_names_that_mlflow_takes(opened: store.Store) -> None:
    names = records.name_metrics({"gradcam++": {"share": 0.5}, "odd name; (or so)": 1})
    assert names == {"gradcamplusplus/share": 0.5, "odd name_ _or so_": 1.0}
    record = records.RunRecord("baseline", "workspace", "training", 1, metrics={"explanations": names})
    run_id = runs.start_run(opened, record)
    runs.fill_run(opened, record)
    assert opened.client.get_run(run_id).data.metrics == names
    runs.end_run(opened, run_id, "FINISHED")


def test_details_count_as_if_they_stood_outside() -> None:
    nested = {"test": {"accuracy": 0.7, "classes": [{"recall": 1.0}], "details": [{"brier": 0.2, "note": "text"}]}}
    assert records.name_metrics(nested) == {"test/accuracy": 0.7, "test/brier": 0.2}


def test_process_is_told_by_boot_and_start() -> None:
    tags = records.describe_process()
    assert not records.is_dead(tags)
    assert records.is_dead(tags | {"process.boot_id": "another"})
    assert records.is_dead(tags | {"process.started": "1"}), "the number went to a later process"
    assert not records.is_dead(tags | {"process.host": "elsewhere"})
    assert not records.is_dead({})
