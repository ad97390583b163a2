"""Experiments as git has them, their groups, and `cvd runs`."""

import base64
import contextlib
import hashlib
import json
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tracking_samples import PARAMS, ROOT, save_model, sync, train, write_workspace

from cvd import cli, tracking
from cvd.commands.runs import format_table
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
        git("add", "dvc.lock", *(["metrics"] if (project / "metrics").is_dir() else []), cwd=project)
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
    assert "wet-wasp/augmented: made from its files, 2 epochs" in (sync())
    (run,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
    assert run.data.params["variant.dropout"] == "0.25", "params.yaml may have changed since"
    assert run.data.params["seed"] == "7"
    expected = {"git.commit": commit, "git.dirty": "false", "dvc.baseline_rev": BASELINE, "dvc.exp_name": "wet-wasp"}
    assert {name: run.data.tags.get(name) for name in expected} == expected
    assert sync() == []


def test_results_of_another_model_are_not_its_own(opened: store.Store, project: Path) -> None:
    model = write_workspace(project, "augmented", seed=81)
    write_lock(project, "augmented")
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    lock["stages"]["evaluate@augmented"]["deps"][0]["md5"] = "1" * 32  # trained since, not evaluated
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert experiments.list_stale(["augmented"])["augmented"] == [Path("metrics/augmented.json")]
    assert experiments.list_stale(["baseline"])["baseline"] == []
    sync()
    (run,) = runs.find_runs(opened, {"model.md5": hash_file(model, "md5")})
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
    assert {run.info.run_id for run in listing.runs} == {own, untouched}
    assert format_table(listing.runs, "odd-orca").count("  reused  ") == 2
    lines = sync()
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


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, command: str = "runs") -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, *arguments])
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


def cache_outputs(project: Path, variant: str) -> None:
    """Writes a dvc.lock of all that was made of a variant, and puts it into DVC's cache, as DVC does."""
    cache, stages = project / ".dvc/cache/files/md5", {}

    def add(content: bytes, ending: str = "") -> str:
        md5 = hashlib.md5(content).hexdigest() + ending
        (cache / md5[:2]).mkdir(parents=True, exist_ok=True)
        (cache / md5[:2] / md5[2:]).write_bytes(content)
        return md5

    (project / ".dvc").mkdir(exist_ok=True)
    beside = [f"models/{variant}.{name}" for name in ("history.csv", "timing.json", "training.json")]
    model = {"path": f"models/{variant}.keras", "md5": add((project / f"models/{variant}.keras").read_bytes())}
    outs = [model, *({"path": path, "md5": add((project / path).read_bytes())} for path in beside)]
    block = {"network": "plain", "input": "files", "dropout": 0.25}
    stages[f"train@{variant}"] = {"params": {"params.yaml": {"seed": 7, f"variants.{variant}": block}}, "outs": outs}
    outs = [{"path": path, "md5": add((project / path).read_bytes())} for path in (f"predictions/{variant}.csv",)]
    metrics = (project / f"metrics/{variant}.json").read_bytes()
    outs.append({"path": f"metrics/{variant}.json", "md5": hashlib.md5(metrics).hexdigest()})  # git has it
    stages[f"evaluate@{variant}"] = {"deps": [model], "outs": outs}
    folder = project / f"plots/gradcam/{variant}"
    entries = [{"md5": add(path.read_bytes()), "relpath": path.name} for path in sorted(folder.glob("*.png"))]
    listing = {"path": f"plots/gradcam/{variant}", "md5": add(json.dumps(entries).encode(), ".dir")}
    stages[f"gradcam@{variant}"] = {"deps": [model], "outs": [listing]}
    (project / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_what_was_overwritten_while_the_server_was_down_comes_back(
    opened: store.Store, project: Path, add_experiment: Callable[[str], str]
) -> None:
    model = write_workspace(project, "augmented", seed=85)
    digest = {"model.md5": hash_file(model, "md5")}
    cache_outputs(project, "augmented")
    add_experiment("lost-lynx")
    write_workspace(project, "augmented", seed=86)  # trained again since
    (project / "dvc.lock").unlink()
    lines = sync()
    assert "lost-lynx/augmented: made from its files, 2 epochs" in lines
    assert "workspace/augmented: made from its files, 2 epochs" in lines
    (run,) = runs.find_runs(opened, digest)
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["test/accuracy"], run.data.params["variant.dropout"]) == (0.75, "0.25")
    assert [point.step for point in opened.client.get_metric_history(run.info.run_id, "gap_loss")] == [1, 2]
    folders = {entry.path for entry in opened.client.list_artifacts(run.info.run_id)}
    assert folders == {"training", "evaluation", "gradcam", "images"}
    assert run.outputs.model_outputs
    assert sync() == []


def test_champion_is_registered_once_and_named_for_dvc(
    opened: store.Store, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contextlib, "chdir", lambda _: contextlib.nullcontext())  # stays in this repository
    pipeline = "artifacts:\n  champion:\n    path: models/transfer.keras  # in use\n    type: model\n"
    (project / "dvc.yaml").write_text(pipeline)
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    model = write_workspace(project, "baseline", seed=87)
    for _ in range(2):
        code, out, _ = ask(capsys, "baseline", command="promote")
        assert code == 0
        assert "models:/dogs-vs-cats@champion" in out
    version = opened.client.get_model_version_by_alias("dogs-vs-cats", "champion")
    assert len(opened.client.search_model_versions("name = 'dogs-vs-cats'")) == 1
    assert opened.client.get_logged_model(version.source.removeprefix("models:/")).tags["model.md5"] == hash_file(
        model, "md5"
    )
    assert (project / "dvc.yaml").read_text() == pipeline.replace("transfer", "baseline")
    code, out, _ = ask(capsys, "workspace/baseline", command="promote")
    assert (code, out.splitlines()[0].partition(" is ")[0]) == (0, "workspace/baseline")
    for name, words in (("nobody", "models/nobody.keras is not there"), ("workspace/nobody", "has no model in MLflow")):
        code, _, err = ask(capsys, name, command="promote")
        assert (code, words in err) == (2, True)


def test_saved_models_are_ranked_by_data_set(opened: store.Store, project: Path) -> None:
    accuracies = {"baseline": 0.5, "augmented": 0.75}
    for seed, (variant, accuracy) in enumerate(accuracies.items(), 88):
        write_workspace(project, variant, seed)
        (project / "data/manifest.csv").write_text(
            "path,label,split,sha256\na/cat/1.jpg,0,test,ab\na/dog/1.jpg,1,test,cd\n"
        )
        metrics = {"test": {"accuracy": accuracy}, "overfitting": {"accuracy_gap": 0.1}}
        (project / f"metrics/{variant}.json").write_text(json.dumps(metrics))
    sync()
    order = [{"field_name": "metrics.test/accuracy", "dataset_name": "test", "ascending": False}]
    ranked = opened.client.search_logged_models([opened.experiment_id], order_by=order)
    own = [model for model in ranked if model.metrics and model.metrics[0].value in accuracies.values()]
    assert [model.name for model in own if model.metrics[0].dataset_digest][:2] == ["augmented", "baseline"]
    (run,) = runs.find_runs(opened, {"model.md5": own[0].tags["model.md5"]})
    sets = {each.dataset.name: each.tags[0].value for each in run.inputs.dataset_inputs}
    assert sets == {"manifest": "training", "train": "training", "validation": "validation", "test": "testing"}
