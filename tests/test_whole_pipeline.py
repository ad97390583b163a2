"""The whole pipeline through DVC, as a user runs it, on a tiny configuration of drawn images."""

import json
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_project import N_PER_CLASS, VARIANTS, commit, ran_stages, run, tiny_params

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Moved after it was made: nothing may hang on the folder's place."""
    return Path(shutil.copytree(prepared, tmp_path_factory.mktemp("whole") / "project", symlinks=True))


def read_json(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def runs_of(project: Path) -> "pd.DataFrame":
    script = (
        "import mlflow, sys; mlflow.set_tracking_uri('sqlite:///mlflow.db');"
        "mlflow.search_runs(search_all_experiments=True).to_csv(sys.stdout, index=False)"
    )
    done = run(sys.executable, "-c", script, cwd=project)
    (project / ".cvd" / "runs.csv").write_text(done.stdout)
    return pd.read_csv(project / ".cvd" / "runs.csv")


def test_a_second_repro_has_nothing_to_do(project: Path) -> None:
    done = run("dvc", "repro", cwd=project)
    assert ran_stages(done) == set()
    assert "up to date" in done.stdout


def test_git_sees_results_only(project: Path) -> None:
    changed = run("git", "status", "--porcelain", "-uall", cwd=project).stdout.splitlines()
    names = [line[3:] for line in changed]
    assert not [name for name in names if not name.endswith((".json", ".csv", ".md", ".gitignore", "dvc.lock"))]


def test_nothing_half_written_is_left(project: Path) -> None:
    assert not list(project.rglob("*.partial"))
    assert not list((project / ".cvd" / "training").glob("*"))
    assert not (project / "mlruns").exists()


def test_manifest_accounts_for_every_image(project: Path) -> None:
    manifest = pd.read_csv(project / "data/manifest.csv", keep_default_na=False)
    quarantine = pd.read_csv(project / "data/quarantine.csv")
    assert ",".join(manifest) == "path,label,split,width,height,sha256,group,source_name,normalised"
    assert list(quarantine) == ["source_name", "reason", "detail"]
    assert len(manifest) + len(quarantine) == 2 * N_PER_CLASS
    placed = manifest[manifest["split"] != "unused"]
    assert placed.groupby(["split", "label"]).size().to_dict() == {
        (split, label): n for split, n in (("train", 7), ("validation", 3), ("test", 3)) for label in (0, 1)
    }
    assert sorted(placed["path"]) == sorted(
        str(path.relative_to(project / "data/images")) for path in (project / "data/images").rglob("*.jpg")
    )
    with zipfile.ZipFile(project / "data/masks.zip") as masks:
        assert len(masks.namelist()) == 2 * len(placed)


def test_every_image_has_an_answer_out_of_fold(project: Path) -> None:
    labels, summary = pd.read_csv(project / "predictions/labels.csv"), read_json(project / "metrics/labels.json")
    assert list(labels) == ["path", "label", "probability", "score", "verdict"]
    assert set(labels["path"]) == set(pd.read_csv(project / "predictions/baseline.csv")["path"])
    assert (len(labels), (labels["verdict"] == "suspect").sum()) == (summary["images"], summary["suspects"])
    assert (project / "plots/labels/suspects.png").is_file()


@pytest.mark.parametrize("variant", VARIANTS)
def test_contract_files(project: Path, variant: str) -> None:
    metrics = read_json(project / f"metrics/{variant}.json")
    for split in ("train", "validation", "test"):
        assert {"accuracy", "loss"} <= set(metrics[split])
    assert {"accuracy_low", "accuracy_high", "auc", "ece", "confusion"} <= set(metrics["test"])
    assert {"accuracy_gap", "loss_gap", "best_epoch", "onset_epoch"} <= set(metrics["overfitting"])
    assert {"epochs", "precision", "parameters"} <= set(metrics["training"])
    history = pd.read_csv(project / f"models/{variant}.history.csv")
    assert list(history) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    assert list(history["epoch"]) == [1, 2]
    predictions = pd.read_csv(project / f"predictions/{variant}.csv")
    assert list(predictions) == ["path", "split", "label", "logit", "probability"]
    assert len(predictions) == 26
    for split, rows in predictions.groupby("split"):
        right = (rows["logit"] > 0) == (rows["label"] == 1)
        assert metrics[str(split)]["accuracy"] == right.mean()
    timing = read_json(project / f"models/{variant}.timing.json")
    assert {"images_per_second", "seconds", "seconds_per_epoch", "device", "threads"} <= set(timing)


def test_tfrecord_is_baseline_bit_for_bit(project: Path) -> None:
    for name in ("models/{}.keras", "models/{}.history.csv", "predictions/{}.csv"):
        assert (project / name.format("baseline")).read_bytes() == (project / name.format("tfrecord")).read_bytes()


def test_models_load_plainly_and_predict_what_was_written(project: Path) -> None:
    script = (
        "import sys, cv2, keras, pandas as pd, numpy as np\n"
        "for v in sys.argv[1:]:\n"
        "    model = keras.models.load_model(f'models/{v}.keras')\n"
        "    rows = pd.read_csv(f'predictions/{v}.csv').query('split == \"test\"')\n"
        "    h, w = model.input_shape[1:3]\n"
        "    x = np.stack([cv2.resize(cv2.imread('data/images/' + p)[..., ::-1], (w, h), interpolation=cv2.INTER_AREA)"
        " for p in rows.path])\n"
        "    y = np.ravel(model.predict(x, verbose=0))\n"
        "    assert model.output_shape == (None, 1) and y.dtype == np.float32\n"
        "    assert np.abs(y - rows.logit).max() < 1e-3 * (1 + np.abs(rows.logit).max()), (v, y, list(rows.logit))\n"
        "print('same')\n"
    )
    assert "same" in run(sys.executable, "-c", script, *VARIANTS, cwd=project).stdout


def test_pictures_are_there_and_hold_something(project: Path) -> None:
    import cv2

    for stage in (
        "augmentations",
        "activations",
        "filters",
        "gradcam",
        "mistakes",
        "side_by_side",
        "comparison",
        "data",
    ):
        pictures = sorted((project / "plots" / stage).rglob("*.png"))
        assert pictures, stage
        for picture in pictures[:20]:
            assert np.ptp(cv2.imread(str(picture))) > 30, picture
    films = project / "plots/gradcam/transfer/epochs"
    assert {path.stem.partition("-epoch-")[2] for path in films.glob("*-epoch-*.png")} == {"1", "2"}
    report = (project / "plots/report.html").read_text()
    assert "data:image" in report
    assert "How that changes as it learns" in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_metrics_and_plots_are_shown(project: Path) -> None:
    shown = json.loads(run("dvc", "metrics", "show", "--json", cwd=project).stdout)
    assert "metrics/baseline.json" in shown[""]["data"]
    run("dvc", "plots", "show", cwd=project)
    assert "train@baseline" in run("dvc", "dag", cwd=project).stdout


def test_training_again_gives_the_same_bits(project: Path) -> None:
    before = (project / "dvc.lock").read_text()
    names = ["models/augmented.keras", "models/augmented.history.csv", "models/augmented.training.json"]
    bits = {name: (project / name).read_bytes() for name in names}
    run("dvc", "repro", "--force", "--single-item", "train@augmented", cwd=project)
    assert {name: (project / name).read_bytes() for name in names} == bits
    (project / "dvc.lock").write_text(before)
    run("dvc", "checkout", "--force", cwd=project)


def test_an_experiment_reruns_what_depends_on_it_and_is_tracked(project: Path) -> None:
    commit(project, "results")
    before = runs_of(project)
    done = run("dvc", "exp", "run", "-S", "augment.rotation_degrees=15", "--name", "gentle", cwd=project)
    followers = {
        "evaluate@augmented",
        "compare",
        "activations@augmented",
        "filters@augmented",
        "explanations@augmented",
        "gradcam@augmented",
        "mistakes@augmented",
        "side_by_side",
        "report",
    }
    assert ran_stages(done) == {"check", "train@augmented", "augmentations", *followers}
    after = runs_of(project)
    assert set(after["tags.mlflow.runName"]) - set(before["tags.mlflow.runName"]) == {"gentle/augmented"}
    new = after[after["tags.mlflow.runName"] == "gentle/augmented"].iloc[0]
    assert new["status"] == "FINISHED"
    images = Path(new["artifact_uri"].removeprefix("file://"), "images")
    assert {tuple(path.name.split("+")[:3]) for path in images.glob("epochs~*")} == {
        (f"epochs~{number}", "step", str(epoch)) for number in (1, 2) for epoch in (1, 2)
    }
    assert new["metrics.test/accuracy"] == read_json(project / "metrics/augmented.json")["test"]["accuracy"]
    listed = run("dvc", "exp", "show", "--csv", cwd=project).stdout
    assert "gentle" in listed


def test_an_experiment_in_a_temporary_copy_lands_in_the_same_store(project: Path) -> None:
    before = set(runs_of(project)["run_id"])
    run("dvc", "exp", "run", "--temp", "-S", "variants.transfer.dropout=0.3", "--name", "apart", cwd=project)
    runs = runs_of(project)
    new = runs[~runs["run_id"].isin(before)]
    assert list(new["tags.mlflow.runName"]) == ["apart/transfer"]
    artifacts = Path(new.iloc[0]["artifact_uri"].removeprefix("file://"))
    assert artifacts.is_relative_to(project / "mlartifacts")
    assert (artifacts / "gradcam").is_dir()
    assert not (project / "mlruns").exists()


@pytest.mark.parametrize(
    ("change", "stage", "words"),
    [
        ({"data": {"source": "archive", "path": "absent.zip"}}, "download", ["absent.zip"]),
        ({"data": {"source": "directory", "path": "README.md"}}, "download", ["README.md", "folder"]),
        ({"augment": {"rotation": 3}}, "split", ["augment.rotation", "unknown"]),
        ({"split": {"train": 500}}, "split", ["split", "500", "14"]),
        ({"gradcam": {"layers": ["conv9"]}}, "explanations@baseline", ["conv9"]),
        ({"activations": {"layers": ["conv9"]}}, "activations@baseline", ["conv9"]),
        ({"filters": {"layers": ["conv9"]}}, "filters@baseline", ["conv9"]),
        ({"activations": {"images": ["test/cat/nobody.jpg"]}}, "activations@baseline", ["test/cat/nobody.jpg"]),
        ({"gradcam": {"photos": "nowhere"}}, "photos", ["nowhere"]),
    ],
)
def test_wrong_input_is_one_line(project: Path, change: dict[str, Any], stage: str, words: list[str]) -> None:
    text = (project / "params.yaml").read_text()
    params = yaml.safe_load(text)
    for section, values in change.items():
        params[section] |= values
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    (command,) = [
        entry["cmd"]
        for name, entry in yaml.safe_load((project / "dvc.lock").read_text())["stages"].items()
        if name == stage
    ]
    command = command.replace(tiny_params()["data"]["path"], params["data"]["path"])
    command = re.sub(r"--photos \S+", f"--photos {params['gradcam']['photos']}", command)
    try:
        done = run("sh", "-c", command, cwd=project, check=False)
    finally:
        (project / "params.yaml").write_text(text)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
    for word in words:
        assert word in line
    assert not list(project.rglob("*.partial"))
