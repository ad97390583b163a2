"""What the default run is there to show, it shows with margin, from each of three seeds: `make story`.

The networks are trained by `dvc repro` with the values of params.yaml on the images that it has drawn. Only `seed` is
varied, and with it initial weights, order of images, augmentation and dropout.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_project

from cvd.evaluation.overfitting import N_LAST, find_onset
from cvd.runtime.params.loading import load_params

pytestmark = pytest.mark.story

ROOT = Path(__file__).parent.parent
PARAMS = load_params(ROOT / "params.yaml")
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Result:
    """What became of one training; accuracies are those of the saved model on clean images."""

    name: str
    train: float
    validation: float
    test: float
    val_loss: list[float]

    @property
    def gap(self) -> float:
        return self.train - self.validation

    @property
    def rise(self) -> float:
        """How far the validation loss of the last epochs lies above its lowest, as a share of that."""
        return float(np.mean(self.val_loss[-N_LAST:])) / min(self.val_loss) - 1

    @property
    def onset(self) -> int | None:
        return find_onset(self.val_loss, tolerance=PARAMS.evaluate.onset_tolerance)

    def __str__(self) -> str:
        return (
            f"{self.name:<17} train {self.train:.3f}  validation {self.validation:.3f}  test {self.test:.3f}  "
            f"gap {self.gap:+.3f}  validation loss: lowest {min(self.val_loss):.3f}, last {self.val_loss[-1]:.3f}, "
            f"last {N_LAST} epochs {self.rise:+.0%}, onset {self.onset}"
        )


Train = Callable[[str, int], Result]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains and measures a variant from a seed, once."""
    project = tmp_path_factory.mktemp("story")
    tiny_project.clone(project)
    text = (ROOT / "params.yaml").read_text()

    @cache
    def train_and_measure(name: str, seed: int) -> Result:
        (project / "params.yaml").write_text(re.sub(r"(?m)^seed: \d+", f"seed: {seed}", text))
        done = tiny_project.run("dvc", "repro", f"evaluate@{name}", cwd=project, check=False)
        if done.returncode and "Running stage 'backbone'" in done.stdout and "features" not in done.stdout:
            pytest.skip(f"transfer is not tested, for want of pretrained weights: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        metrics = json.loads((project / f"metrics/{name}.json").read_text())
        history = pd.read_csv(project / f"models/{name}.history.csv")
        accuracies = (metrics[split]["accuracy"] for split in ("train", "validation", "test"))
        return Result(f"{name}, seed {seed}", *accuracies, history["val_loss"].tolist())

    return train_and_measure


def _show(result: Result, capsys: pytest.CaptureFixture[str]) -> Result:
    with capsys.disabled():
        print(f"\n{result}", flush=True)
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_plain_network_over_fits(train: Train, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """It fits its training images and stalls on validation, whose loss rises."""
    baseline = _show(train("baseline", seed), capsys)
    assert baseline.train >= 0.95
    assert baseline.gap >= 0.18
    assert baseline.rise >= 0.1
    assert baseline.onset is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_augmentation_with_dropout_closes_most_of_the_gap_and_wins(
    train: Train, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    augmented = _show(train("augmented", seed), capsys)
    baseline = train("baseline", seed)
    assert augmented.gap < baseline.gap / 2
    assert augmented.test >= baseline.test + 0.04


@pytest.mark.parametrize("seed", SEEDS)
def test_transfer_does_at_least_as_well(train: Train, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    transfer = _show(train("transfer", seed), capsys)
    assert transfer.test >= train("augmented", seed).test


def test_shards_train_like_files() -> None:
    """The story of `tfrecord` is that of `baseline`, on which its training depends in nothing but the input."""
    baseline, tfrecord = (PARAMS.variants[name].model_dump() for name in ("baseline", "tfrecord"))
    assert tfrecord == {**baseline, "input": "shards"}
