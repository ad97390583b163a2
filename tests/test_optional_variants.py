"""A variant that is off by default is added, trained, varied, compared and removed by a command each."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from tiny_project import VARIANTS, commit, ran_stages, run

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("optional") / "project"
    shutil.copytree(prepared, target, symlinks=True)
    commit(target, "results")
    yield target
    shutil.rmtree(target)


def go_back(project: Path) -> None:
    run("git", "checkout", "-q", "HEAD", ".", cwd=project)
    run("dvc", "checkout", "-q", "--force", cwd=project)
    assert "up to date" in run("dvc", "status", cwd=project).stdout


def test_default_run_knows_nothing_of_it(project: Path) -> None:
    assert "up to date" in run("dvc", "status", cwd=project).stdout
    listed = run("dvc", "stage", "list", "--name-only", cwd=project).stdout.split()
    assert {name for name in listed if name.startswith("train@")} == {f"train@{name}" for name in VARIANTS}


def test_added_variant_is_compared_drawn_reported_varied_and_removed(project: Path) -> None:
    run("cvd", "add", "small", cwd=project)
    drawn = ("activations", "filters", "explanations", "gradcam", "mistakes")
    followers = {f"{stage}@small" for stage in ("train", "evaluate", *drawn)} | {"check"}
    done = run("dvc", "exp", "run", "--name", "tiny", "-S", "variants.small.width=2", cwd=project)
    assert ran_stages(done) == followers | {"compare", "side_by_side", "report"}
    assert json.loads((project / "metrics/small.json").read_text())["training"]["parameters"] < 20_000
    compared = pd.read_csv(project / "plots/comparison/curves.csv")["variant"].unique().tolist()
    assert sorted(compared) == sorted([*VARIANTS, "small"])
    assert "small" in (project / "plots/report.html").read_text()
    assert list((project / "plots/gradcam/small").glob("*.png"))
    assert (project / "plots/mistakes/small.png").is_file()
    assert "tiny" in run("dvc", "exp", "show", "--csv", cwd=project).stdout
    assert "small" in run("cvd", "compare", "baseline", "small", cwd=project).stdout

    done = run("dvc", "exp", "run", "-S", "variants.baseline.l2=0.001", "evaluate@small", cwd=project)
    assert ran_stages(done) == {"check", "train@small", "evaluate@small"}, "it is like baseline"
    run("cvd", "remove", "small", cwd=project)
    assert not list(project.glob("*/small*"))
    assert not list(project.glob("*/explanations/small*"))
    assert not (project / "plots/filters/small").exists()
    go_back(project)


def test_shares_of_the_images_are_a_learning_curve_in_the_report(project: Path) -> None:
    parts = ["baseline_half", "baseline_quarter", "baseline_eighth"]
    run("cvd", "add", *parts, cwd=project)
    done = run("dvc", "repro", "report", cwd=project)
    trained = {f"{stage}@{name}" for name in parts for stage in ("train", "evaluate")}
    assert ran_stages(done) == trained | {"compare", "side_by_side", "report"}
    table = pd.read_csv(project / "plots/comparison/sizes.csv")
    assert table["n_images"].tolist() == [2, 4, 8, 14]  # 7 of each class; a half of 7 is 3.5, rounded to even
    assert table["epochs"].tolist() == [8, 8, 4, 2]  # 2 of 4 steps each: 1 step an epoch, 1, 2 and 4
    for part, row in zip(reversed(parts), table.itertuples(), strict=False):
        predictions = pd.read_csv(project / f"predictions/{part}.csv")
        assert predictions["split"].value_counts().to_dict() == {"train": row.n_images, "validation": 6, "test": 6}
        test = predictions[predictions["split"] == "test"]
        assert ((test["logit"] > 0) == (test["label"] == 1)).mean() == row.test
    measured = json.loads((project / "metrics/baseline.json").read_text())
    assert table["test"].iloc[-1] == measured["test"]["accuracy"]
    assert re.search(r"baseline</span>: 7 times the images \(2 to 14\)", (project / "plots/report.html").read_text())
    for stage in ("filters", "gradcam"):
        assert not (project / "plots" / stage / "baseline_half").exists(), "no pictures"
    run("cvd", "remove", *parts, cwd=project)
    go_back(project)


def test_new_variant_by_hand_is_a_block_and_a_line(project: Path) -> None:
    params, graph = project / "params.yaml", project / "dvc.yaml"
    params.write_text(
        params.read_text().replace("\nvariants:\n", "\nvariants:\n  gentle: {like: augmented, dropout: 0.2}\n")
    )
    entry = "reads: data/images.sha256, network: cvd/models/scratch, pixels: image, section: augment"
    line = f"gentle: {{{entry}, like: augmented, base: augmented}}"
    graph.write_text(graph.read_text().replace("      transfer: {reads", f"      {line}\n      transfer: {{reads"))
    done = run("dvc", "repro", "compare", "filters@gentle", cwd=project)
    assert ran_stages(done) == {"check", "train@gentle", "evaluate@gentle", "compare", "filters@gentle"}
    graph.write_text(
        graph.read_text().replace(
            "section: augment, like: augmented, base: augmented}\n      transfer",
            "section: image, like: augmented, base: augmented}\n      transfer",
        )
    )
    wrong = run("dvc", "repro", "train@gentle", cwd=project, check=False)
    assert wrong.returncode != 0
    assert "gives gentle `section: image`, but its block in params.yaml needs `section: augment`" in wrong.stderr
    go_back(project)
