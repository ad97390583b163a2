"""What users do with DVC's experiments, step by step, and that MLflow then has every run once."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from tiny_project import VARIANTS, commit, name_author, ran_stages, run

pytestmark = pytest.mark.pipeline

STAGE = "evaluate@augmented"  # it and the training are all that most journeys need
CURVES = {"loss", "accuracy", "val_loss", "val_accuracy", "gap_loss", "gap_accuracy"}
CURVES |= {"learning_rate", "images_per_second"}


@pytest.fixture(scope="module")
def committed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The prepared repository with its results committed."""
    target = tmp_path_factory.mktemp("committed") / "project"
    shutil.copytree(prepared, target, symlinks=True)
    commit(target, "results")
    yield target
    shutil.rmtree(target)


@pytest.fixture
def copy_project(committed: Path, tmp_path: Path) -> Callable[[], Path]:
    return lambda: Path(shutil.copytree(committed, tmp_path / "project", symlinks=True))


def read_runs(project: Path) -> pd.DataFrame:
    script = (
        "import mlflow, sys; mlflow.set_tracking_uri('sqlite:///mlflow.db');"
        "mlflow.search_runs(search_all_experiments=True).to_csv(sys.argv[1], index=False)"
    )
    run(sys.executable, "-c", script, ".cvd/runs.csv", cwd=project)
    return pd.read_csv(project / ".cvd/runs.csv").rename(columns={"tags.mlflow.runName": "name"})


def check_store(project: Path) -> pd.DataFrame:
    """Nothing orphaned, unfinished or in the wrong place; returns the runs."""
    runs = read_runs(project)
    assert set(runs["status"]) == {"FINISHED"}
    folders = {path.name for path in (project / "mlartifacts").iterdir()} - {"models"}
    assert folders == set(runs["run_id"])
    assert len(list((project / "mlartifacts/models").iterdir())) == len(runs)
    assert not [path for path in project.rglob("mlruns") if ".venv" not in path.parts]
    return runs


def go_back(project: Path) -> None:
    run("make", "--old-file=venv", "reset", cwd=project)


def test_vary_a_number_compare_repeat_apply_and_branch(copy_project: Callable[[], Path]) -> None:
    project = copy_project()
    done = run("dvc", "exp", "run", "-S", "augment.rotation_degrees=15", "--name", "gentle", STAGE, cwd=project)
    assert ran_stages(done) == {"check", "train@augmented", STAGE}
    verdict = next(line for line in reversed(done.stdout.splitlines()) if line.startswith("augmented: "))
    assert "(was " in verdict or verdict.endswith("as before")
    text = run("cvd", "compare", "gentle", "--sheet", "explained/turns.png", cwd=project).stdout
    assert f"- {verdict}\n  - differs: augment.rotation_degrees 40 → 15\n" in text
    unchanged = next(line for line in text.splitlines() if line.startswith("- unchanged: "))
    assert set(unchanged.removeprefix("- unchanged: ").split(", ")) == set(VARIANTS) - {"augmented"}
    table = run("cvd", "exps", cwd=project).stdout
    assert table.splitlines()[-4].split()[:3] == ["gentle", "rotation_degrees=15", "augmented"]

    table = pd.read_csv(save(project, run("dvc", "exp", "show", "--csv", cwd=project).stdout))
    shown = table.set_index("Experiment").loc["gentle"]
    assert shown["augment.rotation_degrees"] == 15
    changed = json.loads(run("dvc", "params", "diff", "--json", cwd=project).stdout)["params.yaml"]
    assert changed == {"augment.rotation_degrees": {"old": 40.0, "new": 15, "diff": -25.0}}
    figures = json.loads(run("dvc", "metrics", "diff", "--all", "--json", cwd=project).stdout)
    assert set(figures.get("diff", figures)) >= {"metrics/augmented.json"}
    plots = json.loads(run("dvc", "plots", "diff", "--json", cwd=project).stdout)["data"]
    assert set(plots["Validation accuracy"][0]["revisions"]) == {"HEAD", "workspace"}

    runs = check_store(project)
    assert len(runs) == len(VARIANTS) + 1
    assert sum(runs["name"] == "gentle/augmented") == 1
    listed = run("cvd", "runs", "gentle", cwd=project).stdout.splitlines()
    assert listed[1].split()[:2] == ["gentle/augmented", "trained"]
    assert {line.split()[0] for line in listed[2:5]} == {
        f"workspace/{each}" for each in VARIANTS if each != "augmented"
    }

    go_back(project)
    done = run("dvc", "exp", "run", "-S", "augment.rotation_degrees=15", "--name", "again", STAGE, cwd=project)
    assert not ran_stages(done), "DVC's run cache keeps no stage with `cache: false` outputs beside metrics and plots"
    assert len(check_store(project)) == len(VARIANTS) + 1
    listed = [line.split()[:2] for line in run("cvd", "runs", "again", cwd=project).stdout.splitlines()]
    assert ["gentle/augmented", "reused"] in listed
    run("cvd", "sync", cwd=project)
    before = check_store(project)
    assert "has everything" in run("cvd", "sync", cwd=project).stdout

    go_back(project)
    run("dvc", "exp", "apply", "gentle", cwd=project)
    assert "has everything" in run("cvd", "sync", cwd=project).stdout
    assert not ran_stages(run("dvc", "repro", STAGE, cwd=project))
    go_back(project)
    run("dvc", "exp", "branch", "gentle", "kept", cwd=project)
    run("git", "switch", "-q", "kept", cwd=project)
    run("dvc", "checkout", "-q", "--force", cwd=project)
    assert "has everything" in run("cvd", "sync", cwd=project).stdout
    assert sorted(check_store(project)["run_id"]) == sorted(before["run_id"])

    shutil.rmtree(project / "mlartifacts")
    (project / "mlflow.db").unlink()
    run("cvd", "sync", cwd=project)
    runs = check_store(project).set_index("tags.variant")
    assert len(runs) == len(VARIANTS)
    assert float(runs.loc["augmented", "params.augment.rotation_degrees"]) == 15


def save(project: Path, text: str) -> Path:
    path = project / ".cvd/table.csv"
    path.write_text(text)
    return path


def test_four_queued_experiments_two_at_a_time(copy_project: Callable[[], Path]) -> None:
    project = copy_project()
    (project / "mlflow.db").unlink()  # so that the first two also make the store, at once
    shutil.rmtree(project / "mlartifacts")
    angles = [5, 10, 15, 20]
    values = ",".join(map(str, angles))
    run("dvc", "exp", "run", "--queue", "-S", f"augment.rotation_degrees={values}", STAGE, cwd=project)
    run("dvc", "queue", "start", "--jobs", "2", cwd=project)
    try:
        limit = time.monotonic() + 900
        while len(names := list_experiments(project)) < len(angles):
            status = "" if time.monotonic() < limit else run("dvc", "queue", "status", cwd=project).stdout
            assert not status, status
            time.sleep(1)
    finally:
        run("dvc", "queue", "stop", cwd=project, check=False)
    runs = check_store(project)
    assert sorted(runs["name"]) == sorted(f"{name}/augmented" for name in names)
    assert sorted(runs["params.augment.rotation_degrees"].astype(float)) == angles
    assert runs["metrics.test/accuracy"].notna().all()
    assert (runs["experiment_id"].nunique(), runs["tags.dvc.baseline_rev"].nunique()) == (1, 1)
    for place in runs["artifact_uri"]:
        folder = Path(place.removeprefix("file://"))
        assert folder.parent.parent == project / "mlartifacts"
        assert {path.name for path in folder.iterdir()} == {"training", "evaluation"}


def list_experiments(project: Path) -> list[str]:
    refs = run("git", "for-each-ref", "--format=%(refname)", "refs/exps", cwd=project).stdout.split()
    return [ref.split("/")[4] for ref in refs if ref.count("/") == 4]


def test_fresh_clone_pull_sync_and_browse(committed: Path, tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    shutil.copytree(committed, origin, symlinks=True)
    run("git", "clone", "-q", str(origin), str(clone), cwd=tmp_path)
    name_author(clone)
    for project in (origin, clone):
        run("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"), cwd=project)
        run("dvc", "remote", "add", "--local", "--force", "private", str(tmp_path / "private"), cwd=project)
    run("dvc", "push", cwd=origin)
    run("dvc", "pull", cwd=clone)
    first = run("cvd", "sync", cwd=clone).stdout
    assert {f"workspace/{each}: made from its files, 2 epochs" for each in VARIANTS} <= set(first.splitlines())
    assert "has everything" in run("cvd", "sync", cwd=clone).stdout
    theirs, ours = (check_store(project).set_index("tags.variant") for project in (origin, clone))
    for variant in VARIANTS:
        for name in [each for each in theirs if each.startswith(("params.", "tags.data.", "tags.model."))]:
            assert str(ours.loc[variant].get(name)) == str(theirs.loc[variant, name]), (variant, name)
    assert list(ours["metrics.test/accuracy"].sort_index()) == list(theirs["metrics.test/accuracy"].sort_index())
    script = (
        "import sys, mlflow, numpy as np; mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "model_uri, run_id, *curves = sys.argv[1:]\n"
        "client = mlflow.MlflowClient()\n"
        "for name in curves:\n"
        "    assert [point.step for point in client.get_metric_history(run_id, name)] == [1, 2], name\n"
        "model = mlflow.keras.load_model(model_uri)\n"
        "x = np.full((1, *model.input_shape[1:]), 9, np.float32)\n"
        "assert (mlflow.pyfunc.load_model(model_uri).predict(x)['logit'] == model.predict(x, verbose=0)[:, 0]).all()\n"
    )
    place = Path(ours.loc["transfer", "artifact_uri"].removeprefix("file://"))
    assert {path.name for path in place.iterdir()} >= {"training", "evaluation", "activations", "filters", "gradcam"}
    run_id = ours.loc["transfer", "run_id"]
    run(sys.executable, "-c", script, f"runs:/{run_id}/transfer", run_id, *sorted(CURVES), cwd=clone)
