"""Experiments as git has them, their groups, and `cvd runs`."""

import base64
import contextlib
import json
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tracking_samples import PARAMS, save_model, train, write_workspace

from cvd import cli, tracking
from cvd.runtime import experiments
from cvd.runtime.files import hash_file
from cvd.tracking import records, runs, store, view

BASELINE = "ab" + "c" * 38


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def write_lock(folder: Path, *variants: str, dropout: float = 0.5) -> None:
    """A dvc.lock as of these variants' trainings and evaluations."""
    stages = {}
    for variant in variants:
        model = {"path": f"models/{variant}.keras", "md5": hash_file(folder / f"models/{variant}.keras", "md5")}
        params = {"params.yaml": {"seed": 7, f"variants.{variant}": {"network": "plain", "dropout": dropout}}}
        stages[f"train@{variant}"] = {"cmd": "train", "params": params, "outs": [model]}
        metrics = {"path": f"metrics/{variant}.json", "md5": "0" * 32}
        stages[f"evaluate@{variant}"] = {"cmd": "evaluate", "deps": [dict(model)], "outs": [metrics]}
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


@pytest.fixture
def project(opened: store.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, with the shared store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(opened.root))
    git("init", "-q", cwd=tmp_path)
    git("config", "user.email", "test@example.org", cwd=tmp_path)
    git("config", "user.name", "test", cwd=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "start", cwd=tmp_path)
    return tmp_path


@pytest.fixture
def add_experiment(project: Path) -> Callable[[str], str]:
    """Makes an experiment of the dvc.lock that is there, as DVC keeps it; returns its commit."""

    def add(name: str) -> str:
        git("add", "dvc.lock", cwd=project)
        tree = git("write-tree", cwd=project)
        commit = git("commit-tree", tree, "-m", name, cwd=project)
        git("update-ref", f"refs/exps/{BASELINE[:2]}/{BASELINE[2:]}/{name}", commit, cwd=project)
        git("reset", "-q", cwd=project)
        return commit

    return add


def test_restored_run_has_the_parameters_and_the_code_of_its_experiment(
    opened: store.Store, project: Path, add_experiment: Callable[[str], str]
) -> None:
    model = write_workspace(project, "augmented", seed=80)
    write_lock(project, "augmented", dropout=0.25)
    commit = add_experiment("wet-wasp")
    assert "wet-wasp/augmented: made from its files, 2 epochs" in (tracking.sync_workspace(PARAMS) or [])
    (run,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    assert run.data.params["variant.dropout"] == "0.25", "params.yaml may have changed since"
    assert run.data.params["seed"] == "7"
    expected = {"git.commit": commit, "git.dirty": "false", "dvc.baseline_rev": BASELINE, "dvc.exp_name": "wet-wasp"}
    assert {name: run.data.tags.get(name) for name in expected} == expected
    assert tracking.sync_workspace(PARAMS) == []


def test_results_of_another_model_are_not_its_own(opened: store.Store, project: Path) -> None:
    model = write_workspace(project, "augmented", seed=81)
    write_lock(project, "augmented")
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    lock["stages"]["evaluate@augmented"]["deps"][0]["md5"] = "1" * 32  # trained since, not evaluated
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert experiments.list_stale(["augmented"])["augmented"] == [Path("metrics/augmented.json")]
    assert experiments.list_stale(["baseline"])["baseline"] == []
    tracking.sync_workspace(PARAMS)
    (run,) = runs.find_runs(opened, {"model.sha256": hash_file(model)})
    assert "test/accuracy" not in run.data.metrics


def test_group_has_the_variants_that_an_experiment_left_untouched(
    opened: store.Store,
    project: Path,
    add_experiment: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    baseline = save_model(project / "models/baseline.keras", seed=82)
    augmented = save_model(project / "models/augmented.keras", seed=83)
    untouched = train("baseline", model=baseline)
    monkeypatch.setenv("DVC_EXP_NAME", "icy-ibis")
    records.describe_origin.cache_clear()
    own = train("augmented", model=augmented)
    tracking.add_to_run(variant="augmented", model_path=augmented, metrics={"test": {"accuracy": 0.625}})
    write_lock(project, "baseline", "augmented")
    tracking.complete_results(PARAMS)  # as the stage `report` does
    monkeypatch.delenv("DVC_EXP_NAME")
    group = 'tags.groups LIKE "% icy-ibis %"'
    found = opened.client.search_runs([opened.experiment_id], group)
    assert {run.info.run_id for run in found} == {own, untouched}
    assert not opened.client.search_runs([opened.experiment_id], 'tags.groups LIKE "% icy %"')

    add_experiment("icy-ibis")
    add_experiment("odd-orca")  # DVC restored the same from its cache: no code ran
    listing = tracking.list_runs("odd-orca")
    assert listing is not None
    assert {row[5]: row[1] for row in listing.rows} == {own: "reused", untouched: "reused"}
    lines = tracking.sync_workspace(PARAMS) or []
    assert not [line for line in lines if "odd-orca" in line], "`cvd runs` has completed the group already"

    assert ask(capsys, "icy-ibis")[0] == 0
    code, out, _ = ask(capsys, "icy-ibis")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["run", "what", "test", "gap", "status", "run", "id"]
    assert lines[1].split() == ["icy-ibis/augmented", "trained", "0.6250", "FINISHED", own]
    assert lines[2].split() == ["workspace/baseline", "reused", "FINISHED", untouched]
    page = ask(capsys, "icy-ibis", "--page")[1].strip()
    key, tag = view.name_view("icy-ibis")
    assert page.endswith(f"viewStateShareKey={key}")
    saved = json.loads(opened.client.get_experiment(opened.experiment_id).tags[tag])
    state = json.loads(zlib.decompress(base64.b64decode(saved["state"].removeprefix("deflate;"))))
    assert state["searchFilter"] == group


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["runs", *arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_unknown_and_empty_experiments_are_told_apart(
    opened: store.Store,
    project: Path,
    add_experiment: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contextlib, "chdir", lambda _: contextlib.nullcontext())  # stays in this repository
    save_model(project / "models/baseline.keras", seed=84)
    write_lock(project, "baseline")
    add_experiment("new-newt")
    code, _, err = ask(capsys, "nobody")
    assert code == 2
    assert "'nobody' is not known" in err
    assert "new-newt" in err
    code, _, err = ask(capsys, "new-newt")
    assert code == 2
    assert "dvc exp apply new-newt" in err
    code, out, _ = ask(capsys)
    assert code == 0
    assert "viewStateShareKey=overfitting" in out
