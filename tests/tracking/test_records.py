"""What is known of a run, and how it is named."""

from pathlib import Path

import numpy as np
import pytest
from tracking_samples import EPOCH, PARAMS, ROOT, draw

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
    record = records.RunRecord("baseline", "workspace", "training", 1, parts={"explanations": records.Part(names)})
    run_id = runs.start_run(opened, record)
    runs.fill_run(opened, record)
    assert opened.client.get_run(run_id).data.metrics == names
    runs.end_run(opened, run_id, "FINISHED")


def test_details_count_as_if_they_stood_outside() -> None:
    nested = {"test": {"accuracy": 0.7, "classes": [{"recall": 1.0}], "details": [{"brier": 0.2, "note": "text"}]}}
    assert records.name_metrics(nested) == {"test/accuracy": 0.7, "test/brier": 0.2}


def test_process_is_told_by_its_start() -> None:
    tags = records.describe_process()
    assert not records.is_dead(tags)
    started = int(tags["process.started"])
    assert not records.is_dead(tags | {"process.started": str(started - 1)}), "clocks are set"
    assert records.is_dead(tags | {"process.started": str(started - 3600)}), "the number went to a later process"
    assert records.is_dead(tags | {"process.pid": "4194305"})
    assert not records.is_dead(tags | {"process.host": "elsewhere"})
    assert not records.is_dead({})


def test_splits_have_digests_of_their_images(tmp_path: Path) -> None:
    rows = ["path,label,split,sha256", "a,0,train,1", "b,1,train,2", "c,0,test,3", "d,1,validation,4"]
    (tmp_path / "one.csv").write_text("\n".join(rows))
    (tmp_path / "other.csv").write_text("\n".join([*rows[:-1], "d,0,validation,4"]))
    one, other = (records.digest_splits(tmp_path / f"{name}.csv") for name in ("one", "other"))
    assert {name for name in one if one[name] != other[name]} == {"validation"}
    assert len(set(one.values())) == 3
    assert records.digest_splits(tmp_path / "none.csv") == {}


def test_classes_of_half_a_manifest_have_numbers(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("path,label\ntest/owl/1.jpg,0\n")
    assert records.read_classes(tmp_path / "one.csv") == records.read_classes(tmp_path / "none.csv") == ("0", "1")
    (tmp_path / "one.csv").write_text("path,label\ntest/owl/1.jpg,0\ntest/newt/1.jpg,1\n")
    assert records.read_classes(tmp_path / "one.csv") == ("owl", "newt")


def test_parameters_of_a_lock_have_the_same_digest() -> None:
    digests = {records.describe_training({"epochs": value}, {})["params.digest"] for value in ("40", "40.0")}
    assert len(digests) == 1


def test_pictures_have_the_same_keys_in_every_variant() -> None:
    def name(folder: str, *files: str) -> list[tuple[str, int]]:
        part = records.Part(files={file: Path(file) for file in files})
        return [(key, step) for key, step, path in part.name_images(folder, "baseline") if path.name in part.files]

    assert name("gradcam", "test_dog.png", "test_cat.png") == [("gradcam/1", 0), ("gradcam/2", 0)]
    assert name("epochs", "cat-epoch-10.png", "dog-epoch-5.png", "cat-epoch-5.png") == [
        *(("epochs/1", 10), ("epochs/1", 5), ("epochs/2", 5))
    ]
    assert name("mistakes", "baseline.png") == [("mistakes", 0)]
    assert name("filters", "conv1.png", "block?3é.png", "notes.md") == [("filters/block_3_", 0), ("filters/conv1", 0)]
    assert name("comparison", "curves.png") == name("evaluation", "baseline.png") == []


def test_picture_is_logged_for_the_image_grid(opened: store.Store, tmp_path: Path) -> None:
    (tmp_path / "cat-epoch-10.png").write_bytes(draw("one"))
    part = records.Part(files={"cat-epoch-10.png": tmp_path / "cat-epoch-10.png"})
    record = records.RunRecord("baseline", "workspace", "training", 1, parts={"epochs": part})
    run_id = runs.start_run(opened, record)
    for _ in range(2):
        runs.fill_run(opened, record)
    names = [Path(entry.path).name for entry in opened.client.list_artifacts(run_id, "images")]
    assert [name.split("+")[:3] for name in names] == [["epochs~1", "step", "10"]] * 2, "the picture and its thumbnail"
    stored = opened.root / f"mlartifacts/{run_id}/artifacts/images"
    assert draw("one") in [path.read_bytes() for path in stored.iterdir()], "byte for byte"
    assert opened.client.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"
    runs.end_run(opened, run_id, "FINISHED")
