"""Learning curves against data size: which variants belong together, the table, honest sentences."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cvd.evaluation.lesson import sizes
from cvd.evaluation.statistics import bootstrap_accuracies, find_interval
from cvd.runtime.errors import InputError


def make_measured(accuracy: float, n_train: int, gap: float) -> dict[str, Any]:
    return {
        "train": {"accuracy": accuracy + gap, "details": [{"n_images": n_train}]},
        "validation": {"accuracy": accuracy},
        "test": {"accuracy": accuracy, "accuracy_low": accuracy - 0.05, "accuracy_high": accuracy + 0.05},
        "overfitting": {"accuracy_gap": gap},
        "training": {"epochs": 8},
    }


def make_predictions(right: list[bool]) -> pd.DataFrame:
    """A training image and then test images, all dogs, of which a network gets these right."""
    n = len(right)
    logit = [9.0, *(2.0 if each else -2.0 for each in right)]
    return pd.DataFrame({"path": "", "split": ["train"] + n * ["test"], "label": 1, "logit": logit})


def tabulate(accuracies: dict[str, tuple[float, int, float]], n_test: int, bases: dict[str, str]) -> pd.DataFrame:
    """The table of networks by accuracy, training images and gap; a better one gets right what a worse one does."""
    metrics: dict[str, Any] = {name: make_measured(*figures) for name, figures in accuracies.items()}
    places = np.arange(n_test) / n_test
    predictions = {name: make_predictions(list(places < figures[0])) for name, figures in accuracies.items()}
    table = sizes.tabulate_sizes(bases, metrics, predictions, n_bootstrap=500, seed=3)
    assert table is not None
    return table


def test_a_base_differs_in_share_alone() -> None:
    plain = {"epochs": 8, "dropout": 0.0, "share": 1.0}
    blocks = {
        "half": plain | {"share": 0.5},
        "baseline": plain,
        "twin": plain,
        "dropout_half": plain | {"share": 0.5, "dropout": 0.5},
        "quarter": plain | {"share": 0.25},
    }
    assert sizes.find_bases(blocks) == {"half": "baseline", "quarter": "baseline"}
    assert sizes.find_bases({"half": blocks["half"]}) == {}


def test_table_and_sentences() -> None:
    bases = dict.fromkeys(("half", "eighth"), "baseline")
    figures = {"baseline": (0.8, 80, 0.1), "eighth": (0.5, 10, 0.5), "half": (0.6, 40, 0.3)}
    table = tabulate(figures, 50, bases)
    assert tuple(table) == sizes.COLUMNS
    assert table["n_images"].tolist() == [10, 40, 80]
    assert table["test"].tolist() == [0.5, 0.6, 0.8]
    assert table["test_low"].tolist() == [0.45, 0.6 - 0.05, 0.75]
    assert table["difference"].tolist() == [0.3, 0.2, 0]
    right = np.arange(50) < np.array([[40], [25], [30]])
    replicates = bootstrap_accuracies(right, n_bootstrap=500, seed=3)
    low, high = find_interval(replicates[:, 0] - replicates[:, 1])
    first, last = table.iloc[0], table.iloc[-1]
    assert (first["difference_low"], first["difference_high"]) == (low, high)
    assert 0 < low < 0.3 < high
    assert last[["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0]
    assert sizes.describe_sizes(table) == [
        "baseline: 8 times the images (10 to 80) take test accuracy from 50.0% to 80.0%, by +30.0 points "
        f"(95% interval +{100 * low:.1f} to +{100 * high:.1f}: more than luck with the test images explains), "
        "and the gap from 50.0 to 10.0 points.",
        "Each number of images is one training from one seed: the intervals leave out the luck of training.",
    ]
    assert "| baseline | 80 | 8 | 90.0% | 80.0% | 80.0% (75.0% to 85.0%) | +10.0 |" in sizes.render_sizes(table)
    two = {"half": (0.6, 10, 0.1), "all": (0.64, 20, 0.1), "own": (0.8, 40, 0.1), "own_half": (0.72, 20, 0.1)}
    both = tabulate(two, 25, {"half": "all", "own_half": "own"})
    assert both["variant"].tolist() == ["all", "all", "own", "own"]
    assert both["n_images"].tolist() == [10, 20, 20, 40]
    unsure, other, _ = sizes.describe_sizes(both)
    assert other.startswith("own: 2 times the images (20 to 40) take test accuracy from 72.0% to 80.0%")
    assert "from 60.0% to 64.0%, by +4.0 points (95% interval 0.0 to +12.0: it may be luck with the" in unsure


def test_no_shares_no_table() -> None:
    assert sizes.tabulate_sizes({}, {}, {}, n_bootstrap=500, seed=3) is None


def test_different_test_images_are_refused() -> None:
    predictions = {"half": make_predictions([True]), "all": make_predictions([True]).replace({"path": {"": "other"}})}
    metrics: dict[str, Any] = {name: make_measured(0.6, 10, 0.1) for name in predictions}
    with pytest.raises(InputError, match=r"half.csv and predictions/all.csv are of different test images"):
        sizes.tabulate_sizes({"half": "all"}, metrics, predictions, n_bootstrap=500, seed=3)
