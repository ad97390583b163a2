"""What is off by default, a variant or a learning curve, is run by one command, and leaves the default run alone."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tiny_project import ROOT, commit, ran_stages, run

pytestmark = pytest.mark.pipeline

MORE = yaml.safe_load((ROOT / "more.yaml").read_text())


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("optional") / "project"
    shutil.copytree(prepared, target, symlinks=True)
    commit(target, "results")
    yield target
    shutil.rmtree(target)


def test_default_run_knows_nothing_of_it(project: Path) -> None:
    assert "up to date" in run("dvc", "status", cwd=project).stdout
    listed = run("dvc", "stage", "list", "--name-only", cwd=project).stdout.split()
    assert "train@baseline" in listed
    assert not {f"train@{name}" for name in MORE["optional"]} & set(listed)
    assert not {f"sizes@{name}" for name in MORE["optional_sizes"]} & set(listed)


def test_one_command_runs_it_and_one_takes_it_out_again(project: Path) -> None:
    add = ["-S", "more.yaml:++graph.small=${optional.small}", "-S", "variants.small.width=2"]
    done = run("dvc", "exp", "run", "--name", "tiny", "evaluate@small", *add, cwd=project)
    assert ran_stages(done) == {"train@small", "evaluate@small"}
    metrics = json.loads((project / "metrics/small.json").read_text())
    assert metrics["training"]["parameters"] < 20_000
    changed = run("git", "status", "--porcelain", "-uall", cwd=project).stdout.splitlines()
    assert {line[3:] for line in changed} == {"dvc.lock", "metrics/small.json", "more.yaml", "params.yaml"}
    shown = run("dvc", "exp", "show", "--csv", cwd=project).stdout
    assert "tiny" in shown
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("calibration_bins: 10", "calibration_bins: 5"))
    again = run("dvc", "repro", "evaluate@small", cwd=project)
    assert ran_stages(again) == {"evaluate@small"}
    assert "M  dvc.lock" in run("git", "status", "--porcelain", cwd=project).stdout, "in git's index: `HEAD` is needed"
    run("git", "checkout", "-q", "HEAD", ".", cwd=project)
    run("dvc", "checkout", "-q", "--force", cwd=project)
    assert not (project / "models/small.keras").exists()
    assert "up to date" in run("dvc", "status", cwd=project).stdout


def test_learning_curve_of_fewer_images_goes_into_the_report(project: Path) -> None:
    add = ["-S", "more.yaml:++sizes.baseline=${optional_sizes.baseline}"]
    done = run("dvc", "exp", "run", "--name", "parts", "report", *add, cwd=project)
    assert ran_stages(done) == {"sizes@baseline", "report"}
    folder = project / "plots/sizes/baseline"
    table = pd.read_csv(folder / "sizes.csv")
    assert table["n_images"].tolist() == [2, 4, 8, 14]  # 7 of each class; a half of 7 is 3.5, rounded to even
    assert table["epochs"].tolist() == [8, 8, 4, 2]  # 2 of 4 steps each: 1 step an epoch, 1, 2 and 4
    for part, row in zip(("eighth", "quarter", "half"), table.itertuples(), strict=False):
        predictions = pd.read_csv(folder / f"{part}.predictions.csv")
        assert predictions["split"].value_counts().to_dict() == {"train": row.n_images, "validation": 6, "test": 6}
        test = predictions[predictions["split"] == "test"]
        assert ((test["logit"] > 0) == (test["label"] == 1)).mean() == row.test
    found = json.loads((project / "metrics/baseline.json").read_text())
    assert table["test"].iloc[-1] == found["test"]["accuracy"]
    assert re.search(r"baseline</span>: 7 times the images \(2 to 14\)", (project / "plots/report.html").read_text())
    run("git", "checkout", "-q", "HEAD", ".", cwd=project)
    run("dvc", "checkout", "-q", "--force", cwd=project)
    assert not folder.exists()
    assert "up to date" in run("dvc", "status", cwd=project).stdout
