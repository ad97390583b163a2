"""What luck gives the best of many networks, by closed forms and simulation; tables and sentences of a search."""

from math import pi, sqrt
from typing import Any

import numpy as np
import pytest

from cvd.evaluation.lesson import search

SETTINGS = {
    "fault": "",
    "parameters": 10,
    "epochs": 3,
    "saved_epoch": 3,
    "train": 1.0,
    "gap": 0.5,
    "state": "over-fitted",
}


def make_trial(label: str, right: np.ndarray, **others: Any) -> search.Trial:
    figures = {"validation": float(right.mean()), "validation_loss": 0.5, "seconds": 9.0}
    digits = "".join(str(int(value)) for value in right)
    return SETTINGS | figures | {"label": label, "settings": {}, "right": digits} | others  # type: ignore[return-value]


@pytest.mark.parametrize(("n", "expected"), [(1, 0), (2, 1 / sqrt(pi)), (3, 1.5 / sqrt(pi)), (10, 1.5387527308)])
def test_largest_of_normal_numbers_has_its_closed_form(n: int, expected: float) -> None:
    """The first are closed forms; that of ten is Tippett's table (1925; to ten digits Harter 1961)."""
    assert search.expect_largest(n) == pytest.approx(expected, abs=1e-8)


def make_equals(rng: np.random.Generator, n: int, n_images: int, p: float, shared: float) -> np.ndarray:
    """Equally good networks: a share of the images is as easy or hard for all of them; each answers the rest alone."""
    common = rng.random(n_images) < p
    alone = rng.random((n, n_images)) < p
    return np.where(rng.random(n_images) < shared, common, alone)


@pytest.mark.parametrize(("n", "shared"), [(2, 0.0), (12, 0.0), (12, 0.6)])
def test_luck_is_what_equally_good_networks_show(n: int, shared: float) -> None:
    rng = np.random.default_rng(1)
    leads, said, highs, correlations = [], [], [], []
    for _ in range(400):
        right = make_equals(rng, n, 400, 0.7, shared)
        luck = search.measure_luck([make_trial(str(i), row) for i, row in enumerate(right)])
        leads.append(luck["winner_lead"])
        said.append(luck["lead"])
        highs.append(luck["lead_high"])
        correlations.append(luck["correlation"])
    assert np.mean(correlations) == pytest.approx(shared, abs=0.01)
    assert np.mean(said) == pytest.approx(np.mean(leads), rel=0.06)
    assert 0 <= np.mean(np.array(leads) > np.array(highs)) < 0.06


def test_sentences_say_how_many_what_luck_gives_and_what_the_test_says() -> None:
    rng = np.random.default_rng(2)
    equals = [make_trial(f"width={i}", row) for i, row in enumerate(make_equals(rng, 8, 400, 0.7, 0.3))]
    assert "8 networks were tried" in (text := search.describe_luck(search.measure_luck(equals)))
    assert "luck may be all" in text
    assert "m(8) = 1.42" in text
    better = make_trial("width=64", rng.random(400) < 0.9)
    assert "more than luck explains" in search.describe_luck(search.measure_luck([*equals, better]))
    assert "nothing to choose" in search.describe_luck(search.measure_luck([better]))
    found = search.find_winner([*equals, better])
    assert found is not None
    assert "baseline with width=64" in search.describe_winner(found, "baseline")
    said = search.describe_test({"n_right": 480, "n_images": 600}, 0.9)
    assert said.endswith("80.0% of 600 (95% 76.6% to 83.0%), \N{MINUS SIGN}10.0 points from its validation figure.")


def test_table_ranks_by_validation_then_loss_and_keeps_what_failed() -> None:
    right = np.arange(10) < 7
    trials = [
        make_trial("a", right, validation_loss=0.6),
        make_trial("b", right, validation_loss=0.5),
        {"label": "c", "settings": {}, "fault": "loss of epoch 1 is nan"},
        make_trial("d", ~right),
    ]
    table = search.tabulate_trials(trials)  # type: ignore[arg-type]
    assert table["label"].tolist() == ["b", "a", "d", "c"]
    assert table["validation_low"][0] == pytest.approx(0.3968, abs=1e-4)
    text = search.render_trials(table)
    assert "| c | loss of epoch 1 is nan |" in text
    assert search.find_winner([trials[2]]) is None  # type: ignore[list-item]
    assert search.measure_luck(trials)["n"] == 3  # type: ignore[arg-type]
