"""What the files of training, evaluate and compare hold. Shares are 0..1, losses in nats, epochs count from 1."""

from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import Classes


def read_table(path: Path, stage: str, **options: Any) -> pd.DataFrame:
    """Read a CSV that a stage makes, with options of `pandas.read_csv`.

    Raises:
        InputError: the file is missing, or is not a table.
    """
    try:
        table: pd.DataFrame = pd.read_csv(path, **options)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: make it with `dvc repro {stage}`") from error
    except ValueError as error:
        raise InputError(f"{path} is not a table of {stage}: make it again with `dvc repro -f {stage}`") from error
    return table


class Timing(TypedDict):
    """models/VARIANT.timing.json."""

    images_per_second: float
    seconds: float
    seconds_per_epoch: list[float]
    device: str
    threads: int


class TimingSummary(TypedDict):
    """One variant in metrics/timings.json; `seconds_after_best` are of the epochs after the best one."""

    images_per_second: float
    seconds: float
    seconds_after_best: float
    median_seconds_per_epoch: float | None
    device: str
    threads: int


class SplitMeasures(TypedDict):
    """All that is measured of one split; `threshold`, a probability, is chosen on validation."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    auc: float
    ece: float
    n_images: int
    average_precision: float
    brier: float
    threshold: float
    accuracy_at_threshold: float
    confusion: list[list[int]]
    classes: list[dict[str, Any]]


class SplitFigures(TypedDict):
    """What metrics/VARIANT.json says of every split; rows of `confusion` are labels, columns answers."""

    accuracy: float
    loss: float
    confusion: list[list[int]]
    classes: list[dict[str, Any]]
    details: list[dict[str, Any]]


class FinalFigures(SplitFigures):
    """What it says of the test split, by which networks are compared."""

    accuracy_low: float
    accuracy_high: float
    auc: float
    ece: float


class EpochGap(TypedDict):
    """The curves at the best or the last epoch."""

    at: str
    epoch: int
    accuracy_gap: float
    loss_gap: float
    validation_loss: float
    validation_accuracy: float


class CurveFigures(TypedDict):
    """All that is measured of a history; `onset_epoch` is None where the loss did not rise for good."""

    best_epoch: int
    onset_epoch: int | None
    accuracy_area: float
    loss_area: float
    curve_gaps: list[EpochGap]


class Overfitting(TypedDict):
    """The gaps of the saved network, then figures of its history; `details` has areas, and more on `state`."""

    state: str
    accuracy_gap: float
    loss_gap: float
    best_epoch: int
    onset_epoch: int | None
    curve_gaps: list[EpochGap]
    details: list[dict[str, Any]]


class TrainingFacts(TypedDict):
    """Of models/VARIANT.training.json; `details` has what it says beyond these."""

    epochs: int
    precision: str
    parameters: int
    details: list[dict[str, Any]]


class Metrics(TypedDict):
    """metrics/VARIANT.json: plain values are what `dvc metrics` shows, lists are left out of its tables."""

    train: SplitFigures
    validation: SplitFigures
    test: FinalFigures
    overfitting: Overfitting
    training: TrainingFacts


def list_classes(metrics: Metrics) -> Classes:
    """List the names of the two classes; the second is positive."""
    first, second = (str(row["label"]) for row in metrics["test"]["classes"])
    return first, second


class Rank(TypedDict):
    """One variant's place by test accuracy; `best_share`: of the bootstrap's test sets, where no other is better."""

    rank: int
    variant: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    auc: float
    ece: float
    average_precision: float
    brier: float
    best_share: float


class Pair(TypedDict):
    """Two variants on the same test images; differences are second minus first."""

    first: str
    second: str
    difference: float
    difference_low: float
    difference_high: float
    only_first_right: int
    only_second_right: int
    agreement: float
    same_logits: bool
    p: float
    p_holm: float
    sentence: str


class Measured(TypedDict):
    """One variant in one revision; `gap` is train minus validation accuracy."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    validation_accuracy: float
    gap: float


class Change(TypedDict):
    """One variant in two revisions on the same test images; differences are after minus before.

    The images that only one of them got right are by path, the surest turns first.
    """

    n_images: int
    before: Measured
    after: Measured
    difference: float
    difference_low: float
    difference_high: float
    p: float
    only_before_right: list[str]
    only_after_right: list[str]


class OverfittingRow(TypedDict):
    """One variant's over-fitting: of the saved network on clean images, then of its history as the epochs saw it."""

    variant: str
    state: str
    cause: str
    knob: dict[str, str] | None  # what to turn next: `words` and `command`
    epochs: int
    saved_epoch: int | None
    best_epoch: int
    onset_epoch: int | None
    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    train_loss: float
    validation_loss: float
    test_loss: float
    accuracy_gap: float
    loss_gap: float
    accuracy_gap_best: float | None
    accuracy_gap_last: float | None
    loss_gap_best: float | None
    loss_gap_last: float | None
    validation_loss_best: float | None
    validation_loss_last: float | None
    validation_accuracy_best: float | None
    validation_accuracy_last: float | None
    accuracy_area: float
    loss_area: float


class Comparison(TypedDict):
    """metrics/comparison.json."""

    best: str
    n_test_images: int
    n_pairs: int
    n_pairs_told_apart: int
    verdict: list[str]
    ranking: list[Rank]
    pairs: list[Pair]
    overfitting: list[OverfittingRow]
