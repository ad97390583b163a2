"""What the default run is there to show, it shows with margin, from each of three seeds: `make story`.

The networks are trained by the stages' own code with params.yaml's own values on the images that it has drawn; only
`seed`, hence initial weights, order of images, augmentation and dropout, is varied.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cvd.data.drawn import write_drawn_archive
from cvd.data.examples.reading import Examples, read_features, read_files
from cvd.data.images.manifest import read_manifest
from cvd.evaluation.measures import SPLITS, is_right
from cvd.evaluation.overfitting import N_LAST, find_onset
from cvd.machine import threads
from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import load_params
from stages.backbone import make_backbone
from stages.features import cache_features
from stages.split import split
from stages.train import choose_augmentation, choose_network, choose_precision

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
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn images and their manifest, as the stages lay them out."""
    folder = tmp_path_factory.mktemp("story")
    drawn = PARAMS.data.drawn
    write_drawn_archive(folder / "raw.zip", n_per_class=drawn.n_per_class, seed=drawn.seed)
    names = {"archive": "raw.zip", "images": "images", "manifest": "manifest.csv", "quarantine": "quarantine.csv",
             "masks": "masks.zip"}  # fmt: skip
    split(Namespace(**{name: folder / path for name, path in names.items()}, summary=None, sheets=None))
    return folder


@pytest.fixture(scope="module")
def images(data: Path) -> dict[str, Examples]:
    manifest = read_manifest(data / "manifest.csv")
    size_px, memory_bytes = PARAMS.image.size_px, 2**32
    return {
        name: read_files(data / "images", manifest, name, size_px=size_px, memory_bytes=memory_bytes) for name in SPLITS
    }


@pytest.fixture(scope="module")
def features(data: Path) -> dict[str, Examples]:
    try:
        make_backbone(data / "backbone")
    except InputError as error:
        pytest.skip(f"transfer is not tested, for want of pretrained weights: {error}")
    cache_features(data / "images", data / "manifest.csv", data / "backbone", data / "features")
    return {name: read_features(data / "features", name) for name in SPLITS}


@pytest.fixture(scope="module")
def train(request: pytest.FixtureRequest) -> Train:
    """Trains a variant from a seed, once."""
    threads.set_threads(PARAMS.train.threads)

    @cache
    def train_and_measure(name: str, seed: int) -> Result:
        inputs = "features" if PARAMS.variants[name].input == "features" else "images"
        return _train_and_measure(name, seed, request.getfixturevalue(inputs))

    return train_and_measure


def _train_and_measure(name: str, seed: int, examples: dict[str, Examples]) -> Result:
    from cvd.evaluation.prediction import predict_logits
    from cvd.training.fitting import train_model
    from cvd.training.outputs import rebuild_plain

    variant = PARAMS.variants[name]
    training = train_model(
        choose_network(variant, examples["train"]),
        examples["train"],
        examples["validation"],
        epochs=variant.epochs,
        batch_size=PARAMS.train.batch_size,
        optimizer=variant.optimizer,
        learning_rate=variant.learning_rate,
        keep=variant.keep,
        precision=choose_precision(PARAMS, variant),
        seed=seed,
        augment=choose_augmentation(PARAMS.model_copy(update={"seed": seed}), variant),
        name=f"{name}, seed {seed}",
    )
    model = training.model
    if variant.network == "plain":
        model = rebuild_plain(model, dropout=variant.dropout)
    accuracies = (float(is_right(each.labels, predict_logits(model, each)).mean()) for each in examples.values())
    return Result(f"{name}, seed {seed}", *accuracies, [row["val_loss"] for row in training.history])


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
