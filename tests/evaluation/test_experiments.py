"""Results gathered from git's experiments: only what is what it says, across seeds."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import t, ttest_rel

from cvd.commands import seeds
from cvd.runtime import experiments

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
    for variant, found in metrics.items():
        model = {"path": f"models/{variant}.keras", "md5": f"{variant}{seed}{train}"}
        text = json.dumps(found).encode()
        stages[f"train@{variant}"] = {
            "deps": [
                {"path": "data/manifest.csv", "md5": f"manifest{train}"},
                {"path": "cvd/training/loop.py", "md5": "c"},
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
        for variant, found in metrics.items():
            (tmp_path / f"metrics/{variant}.json").write_text(json.dumps(found))
        if name:
            git(tmp_path, "add", "-A")
            git(tmp_path, "commit", "-q", "-m", name)
            git(tmp_path, "update-ref", f"refs/exps/ab/{'0' * 38}/{name}", "HEAD")

    return write


def names(outcomes: Sequence[experiments.Outcome]) -> set[tuple[str, str, int]]:
    return {(each.experiment, each.variant, each.seed) for each in outcomes}


def test_workspace_and_experiments_are_read(tmp_path: Path, write: Write) -> None:
    write({"augmented": make_metrics(0.8)}, seed=3)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "start")
    write({"baseline": make_metrics(0.6), "augmented": make_metrics(0.7)}, "two", seed=2)
    git(tmp_path, "update-ref", "refs/exps/stash", "HEAD")  # a ref of DVC's that is no experiment
    git(tmp_path, "reset", "-q", "--hard", "HEAD~1")
    write({"baseline": make_metrics(0.5)}, seed=1)
    found = experiments.read_outcomes(tmp_path)
    two = {("two", "baseline", 2), ("two", "augmented", 2)}
    assert names(found) == {("workspace", "baseline", 1), ("HEAD", "augmented", 3), *two}
    assert found[0].metrics["test"]["accuracy"] == 0.5
    assert found[0].data == {"data/manifest.csv": "manifest40"}


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


def summarise(**accuracies: Sequence[float]) -> dict[str, Any]:
    runs = {
        variant: {
            seed: experiments.Outcome("e", variant, seed, {}, {}, "c", make_metrics(value))
            for seed, value in enumerate(values, start=1)
        }
        for variant, values in accuracies.items()
    }
    return seeds.summarise_seeds(runs)


def test_spread_and_differences_agree_with_scipy() -> None:
    first, second = [0.57, 0.78, 0.56, 0.61], [0.81, 0.90, 0.72, 0.80]
    found = summarise(baseline=first, augmented=second)
    row = found["variants"][0]
    assert (row["mean"], row["sd"]) == pytest.approx((np.mean(first), np.std(first, ddof=1)), abs=1e-15)
    assert (row["low"], row["high"]) == (0.56, 0.78)
    (pair,) = found["pairs"]
    assert pair["p"] == pytest.approx(ttest_rel(second, first).pvalue, rel=1e-9)
    # By hand: mean plus or minus t times the standard error.
    d = np.subtract(second, first)
    half = t.ppf(0.975, 3) * d.std(ddof=1) / 2
    assert (pair["difference_low"], pair["difference_high"]) == pytest.approx((d.mean() - half, d.mean() + half))
    assert pair["n_ahead"] == 4
    assert pair["sentence"].startswith("augmented is 17.8 points above baseline on average, ahead in 4 of 4 (95% ")
    assert pair["sentence"].endswith("more than the luck of the seed explains.")


def test_t_interval_covers_the_truth() -> None:
    """Seeded simulation: of 95% intervals over four seeds about 95% hold the true difference."""
    differences = np.random.default_rng(3).normal(0.05, 0.04, (1500, 4))
    found = [seeds.measure_differences(each) for each in differences]
    assert 0.935 < np.mean([each["difference_low"] <= 0.05 <= each["difference_high"] for each in found]) < 0.965


def test_sentences_are_honest_about_few_seeds() -> None:
    (two,) = summarise(a=[0.5, 0.6], b=[0.7, 0.75])["pairs"]
    assert two["p"] is None
    assert "too few seeds" in two["sentence"]
    (luck,) = summarise(a=[0.5, 0.6, 0.7], b=[0.6, 0.5, 0.75])["pairs"]
    assert "3 seeds cannot tell whether that is luck" in luck["sentence"]
    assert "ahead in 2 of 3" in luck["sentence"]
    (same,) = summarise(a=[0.5, 0.6, 0.7], b=[0.5, 0.6, 0.7])["pairs"]
    assert same["sentence"] == "a and b are right equally often with each of 3 seeds."
    text = seeds.render_seeds(summarise(a=[0.5], b=[0.7, 0.75]))
    assert "| a | 1 | 50.0% |  |" in text
    assert "| b | 70.0% | 75.0% |" in text
