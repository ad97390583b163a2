"""Means and differences across seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from cvd.commands.evidence import seeds
from cvd.runtime import experiments
from cvd.runtime.errors import InputError


def make_metrics(accuracy: float) -> dict[str, Any]:
    return {"test": {"accuracy": accuracy}, "overfitting": {"accuracy_gap": 0.1}}


def test_ladder_has_student_s_intervals_from_three_seeds_on() -> None:
    values = {"baseline": [0.58, 0.6, 0.65], "augmented": [0.8, 0.84], "own": [0.9, 0.9, 0.9]}
    runs: seeds.Runs = {
        name: {
            seed: experiments.Outcome(
                "e", name, seed, {}, {}, "c", make_metrics(value) | {"validation": {"accuracy": 0.7}}
            )
            for seed, value in enumerate(some)
        }
        for name, some in values.items()
    }
    table = seeds.tabulate_ladder(runs).set_index("variant")
    assert table.index.tolist() == ["baseline", "augmented"], "rungs, in their order"
    low, high = t.interval(0.95, 2, np.mean(values["baseline"]), np.std(values["baseline"], ddof=1) / np.sqrt(3))
    assert table.loc["baseline", ["test_low", "test_high"]].tolist() == pytest.approx([low, high])
    assert table.loc["augmented", ["test_low", "test_high"]].tolist() == [0.8, 0.84]
    assert table["cure"].tolist() == ["no cure (3)", "augmentation and dropout (2)"]
    with pytest.raises(InputError, match="the ladder needs runs of baseline and of a cure: there are augmented"):
        seeds.tabulate_ladder({"augmented": runs["augmented"]})


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
