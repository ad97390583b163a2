"""DVC's experiments read from git: only what is what it says, with the parameters that it was made with."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs import localfs

from cvd.commands.evidence import seeds
from cvd.runtime import experiments, project
from cvd.runtime.files import hash_file

BLOCK = {"input": "files", "epochs": 8, "dropout": 0.5}


def make_metrics(accuracy: float, n_train: int = 80, gap: float = 0.1) -> dict[str, Any]:
    return {
        "train": {"accuracy": accuracy + gap, "details": [{"n_images": n_train}]},
        "validation": {"accuracy": accuracy},
        "test": {"accuracy": accuracy, "details": [{"n_images": 200}]},
        "overfitting": {"accuracy_gap": gap},
        "training": {"epochs": 8},
    }


def make_lock(metrics: dict[str, dict[str, Any]], seed: int, train: int = 40, dropout: float = 0.5) -> dict[str, Any]:
    stages: dict[str, Any] = {
        "split": {
            "deps": [{"path": "data/raw.zip", "md5": "raw"}],
            "params": {"params.yaml": {"split": {"train": train, "test": 100, "seed": 1}}},
            "outs": [{"path": "data/manifest.csv", "md5": f"manifest{train}"}],
        }
    }
    for variant, figures in metrics.items():
        model = {"path": f"models/{variant}.keras", "md5": f"{variant}{seed}{train}"}
        text = json.dumps(figures).encode()
        stages[f"train@{variant}"] = {
            "deps": [
                {"path": "data/manifest.csv", "md5": f"manifest{train}"},
                {"path": "cvd/training", "md5": "c.dir"},
            ],
            "params": {"params.yaml": {"seed": seed, f"variants.{variant}": BLOCK | {"dropout": dropout}}},
            "outs": [dict(model)],
        }
        stages[f"evaluate@{variant}"] = {
            "deps": [model],
            "outs": [{"path": f"metrics/{variant}.json", "md5": hashlib.md5(text).hexdigest()}],
        }
    return {"schema": "2.0", "stages": stages}


def git(root: Path, *arguments: str) -> str:
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return subprocess.run(["git", *author, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a lock with metrics; with a name, also as DVC keeps an experiment."""
    git(tmp_path, "init", "-q")
    (tmp_path / "metrics").mkdir()

    def write(metrics: dict[str, dict[str, Any]], name: str | None = None, **how: Any) -> None:
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump(make_lock(metrics, **how)))
        for variant, figures in metrics.items():
            (tmp_path / f"metrics/{variant}.json").write_text(json.dumps(figures))
        if name:
            git(tmp_path, "add", "-A")
            git(tmp_path, "commit", "-q", "-m", name)
            git(tmp_path, "update-ref", f"refs/exps/ab/{'0' * 38}/{name}", "HEAD")

    return write


def names(outcomes: Sequence[experiments.Outcome]) -> set[tuple[str, str, int]]:
    return {(outcome.experiment, outcome.variant, outcome.seed) for outcome in outcomes}


def test_workspace_and_experiments_are_read(tmp_path: Path, write: Write) -> None:
    write({"augmented": make_metrics(0.8)}, seed=3)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "start")
    write({"baseline": make_metrics(0.6), "augmented": make_metrics(0.7)}, "two", seed=2)
    git(tmp_path, "update-ref", "refs/exps/stash", "HEAD")  # a ref of DVC's that is no experiment
    git(tmp_path, "reset", "-q", "--hard", "HEAD~1")
    write({"baseline": make_metrics(0.5)}, seed=1)
    outcomes = experiments.read_outcomes(tmp_path)
    two = {("two", "baseline", 2), ("two", "augmented", 2)}
    assert names(outcomes) == {("workspace", "baseline", 1), ("HEAD", "augmented", 3), *two}
    assert outcomes[0].metrics["test"]["accuracy"] == 0.5
    assert outcomes[0].data == {"data/manifest.csv": "manifest40"}


def test_metrics_of_another_training_do_not_count(tmp_path: Path, write: Write) -> None:
    """An experiment that brought one variant up to date leaves the others' metrics as they were."""
    write({"baseline": make_metrics(0.6), "augmented": make_metrics(0.7), "tfrecord": make_metrics(0.6)}, seed=1)
    (tmp_path / "metrics/augmented.json").write_text("{}")
    lock = yaml.safe_load((tmp_path / "dvc.lock").read_text())
    lock["stages"]["train@tfrecord"]["outs"][0]["md5"] = "trained anew, not yet evaluated"
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert names(experiments.read_outcomes(tmp_path)) == {("workspace", "baseline", 1)}


def test_outside_a_repository_the_files_are_read(tmp_path: Path) -> None:
    assert experiments.read_outcomes(tmp_path) == []


def test_seeds_differ_in_nothing_else(tmp_path: Path, write: Write) -> None:
    for seed, accuracy in ((2, 0.6), (3, 0.7), (2, 0.65)):
        write({"baseline": make_metrics(accuracy)}, f"seed-{seed}-{accuracy}", seed=seed)
    write({"baseline": make_metrics(0.9)}, "dropout", seed=4, dropout=0.1)
    write({"baseline": make_metrics(0.9)}, "data", seed=5, train=20)
    write({"baseline": make_metrics(0.5)}, seed=1)
    runs = seeds.gather_seeds(experiments.read_outcomes(tmp_path))
    assert list(runs["baseline"]) == [1, 2, 3]
    assert runs["baseline"][1].experiment == "workspace"


def test_parameters_are_those_of_the_whole_block(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that is `like` another stands in dvc.lock with that one, and with the one that this is like."""
    metrics = {"gentle": make_metrics(0.6)}
    lock = make_lock(metrics, seed=1)
    params = lock["stages"]["train@gentle"]["params"]["params.yaml"]
    params |= {"variants.baseline": BLOCK | {"width": 32}, "variants.augmented": {"like": "baseline", "dropout": 0.4}}
    params |= {"variants.gentle": {"like": "augmented", "width": 8}, "train.threads": 2}
    write(metrics, seed=1)
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    whole = {"input": "files", "epochs": 8, "dropout": 0.4, "width": 8}
    (outcome,) = experiments.read_outcomes(tmp_path)
    assert outcome.settings == {"variants.gentle": whole, "train.threads": 2}
    monkeypatch.chdir(tmp_path)
    assert experiments.read_lock()["gentle"].params == {"seed": 1, "variants.gentle": whole, "train.threads": 2}


def test_code_is_no_data(tmp_path: Path, write: Write) -> None:
    """Dependencies are folders of code, too; a backbone is data, a network from scratch code."""
    metrics = {"baseline": make_metrics(0.6)}
    lock = make_lock(metrics, seed=1)
    folders = ("cvd/training", "cvd/models/scratch", "stages/train.py", "models/backbone")
    lock["stages"]["train@baseline"]["deps"] += [{"path": path, "md5": "a.dir"} for path in folders]
    write(metrics, seed=1)
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    (outcome,) = experiments.read_outcomes(tmp_path)
    assert outcome.data == {"data/manifest.csv": "manifest40", "models/backbone": "a.dir"}


def test_lock_that_cannot_be_read_names_no_models(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write({"baseline": make_metrics(0.6)}, "whole", seed=2)
    (tmp_path / "dvc.lock").write_text("<<<<<<< HEAD\nstages: {")
    assert names(experiments.read_outcomes(tmp_path)) == {("HEAD", "baseline", 2), ("whole", "baseline", 2)}
    monkeypatch.chdir(tmp_path)
    assert experiments.read_lock() == {}
    assert experiments.list_stale(["baseline"])["baseline"] == []


def test_pictures_made_of_a_folder_of_models_are_stale_once_a_model_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's digest is DVC's own; a stage that depends on one model only is told apart."""
    for name in ("baseline.keras", "transfer.keras", "backbone/config.json"):
        (tmp_path / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / name).write_text(name)
    _, _, tree = build(HashFileDB(localfs, str(tmp_path / "cache")), str(tmp_path / "models"), localfs, "md5")
    (tmp_path / "models/.gitignore").write_text("/baseline.keras\n")
    model = {"path": "models/transfer.keras", "md5": hash_file(tmp_path / "models/transfer.keras", "md5")}
    stages = {
        "train@transfer": {"outs": [model]},
        "filters@transfer": {"deps": [model], "outs": [{"path": "plots/filters/transfer"}]},
        "gradcam": {"deps": [{"path": "models", "md5": tree.hash_info.value}], "outs": [{"path": "plots/gradcam"}]},
    }
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": stages}))
    monkeypatch.chdir(tmp_path)
    assert experiments.list_stale(["transfer"])["transfer"] == []
    (tmp_path / "models/baseline.keras").write_text("trained again")
    assert experiments.list_stale(["transfer"])["transfer"] == [Path("plots/gradcam")]


def test_git_answers_or_says_nothing(tmp_path: Path, write: Write) -> None:
    (tmp_path / "name").write_bytes(b"\xff\r\n\n")
    git(tmp_path, "add", "name")
    assert project.ask_git("rev-parse", "HEAD", root=tmp_path) == "", "nothing is committed yet"
    git(tmp_path, "commit", "-q", "-m", "start")
    assert project.ask_git("show", "HEAD:name", root=tmp_path).encode(errors="surrogateescape") == b"\xff\r\n"
    assert project.ask_git("cat-file", "--batch", root=tmp_path, given="HEAD:none\n") == "HEAD:none missing"
    assert project.ask_git("rev-parse", "HEAD", root=tmp_path / "absent") == ""
