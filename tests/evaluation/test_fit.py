"""The verdict of three states on constructed histories, and the knob that follows from it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from cvd.evaluation import fit
from cvd.evaluation.fit import OVER, UNDER, WELL
from cvd.evaluation.statistics import newcombe_interval
from cvd.runtime.params.loading import load_params

PARAMS = load_params("params.yaml")
LIMITS = {"onset_tolerance": 0.05, "notable_gap": 0.05, "learned_accuracy": 0.8}
T = np.linspace(0, 1, 40)  # a training of 40 epochs


def make_history(accuracy: Any, val_accuracy: Any, loss: Any, val_loss: Any, noise: float = 0.0) -> pd.DataFrame:
    columns = {"accuracy": accuracy, "val_accuracy": val_accuracy, "loss": loss, "val_loss": val_loss}
    rng = np.random.default_rng(1)
    return pd.DataFrame({name: values + rng.normal(0, noise, T.size) for name, values in columns.items()})


FALLING, SETTLED = 0.69 - 0.3 * T, 0.4 + 0.29 * np.exp(-12 * T)
RISING = 0.69 - 0.3 * T + 1.2 * np.maximum(0, T - 0.3)  # lowest at 0.3 of the training
HISTORIES = {  # name: state, cause, history
    "learnt by heart": (OVER, "passed", make_history(0.5 + 0.5 * T, 0.5 + 0.12 * T, 0.69 - 0.68 * T, RISING)),
    "a gap, and no rise": (OVER, "gap", make_history(0.5 + 0.5 * T, 0.5 + 0.3 * T, 0.69 - 0.68 * T, SETTLED)),
    "little learnt, most of it by heart": (OVER, "gap", make_history(0.5 + 0.28 * T, 0.5 + 0.07 * T, FALLING, SETTLED)),
    "the issue's: 66% against 58%": (UNDER, "little", make_history(0.5 + 0.16 * T, 0.5 + 0.08 * T, FALLING, SETTLED)),
    "guessing": (UNDER, "little", make_history(0.5 + 0 * T, 0.5 + 0 * T, 0.69 + 0 * T, 0.69 + 0 * T)),
    "too small": (UNDER, "little", make_history(0.5 + 0.2 * T, 0.5 + 0.19 * T, SETTLED, SETTLED)),
    "diverged": (UNDER, "unstable", make_history(0.6 - 0.1 * T, 0.6 - 0.1 * T, 0.5 + T, 0.5 + T)),
    "learned, then diverged": (UNDER, "unstable", make_history(0.9 + 0 * T, 0.88 + 0 * T, RISING, RISING)),
    "ended too early": (UNDER, "unfinished", make_history(0.5 + 0.34 * T, 0.5 + 0.32 * T, FALLING, FALLING)),
    "good": (WELL, "sound", make_history(0.5 + 0.47 * T, 0.5 + 0.45 * T, SETTLED - 0.3, SETTLED - 0.25)),
    "good, and still falling": (WELL, "sound", make_history(0.5 + 0.47 * T, 0.5 + 0.45 * T, FALLING, FALLING)),
    "plain, and settled": (WELL, "sound", make_history(0.5 + 0.36 * T, 0.5 + 0.34 * T, SETTLED, SETTLED)),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_verdict_of_constructed_histories_with_and_without_noise(name: str) -> None:
    state, cause, history = HISTORIES[name]
    noisy = history + np.random.default_rng(len(name)).normal(0, 0.005, history.shape)
    for curves in (history, noisy):
        found = fit.judge_fit(curves, **LIMITS)
        assert (found["state"], found["cause"]) == (state, cause)


def test_network_of_its_best_epoch_is_not_judged_by_what_came_after() -> None:
    """Of the training that over-fits, the network of the lowest validation loss has a gap of 2 points."""
    _, _, history = HISTORIES["learnt by heart"]
    best = fit.Evidence(0.92, 0.9, 0.0, int(history["val_loss"].argmin()) + 1)
    assert fit.judge_fit(history, best, **LIMITS)["state"] == WELL
    assert fit.judge_fit(history, best._replace(saved_epoch=40), **LIMITS)["cause"] == "passed"


def test_gap_counts_where_it_is_surely_notable() -> None:
    """83% of 600 against 76% of 400: 7 points, but perhaps only 2; of ten times the images surely 5."""
    _, _, history = HISTORIES["plain, and settled"]
    for times, cause in ((1, "sound"), (10, "gap")):
        splits: Any = [
            {"accuracy": share, "n_images": n * times, "accuracy_low": 0} for share, n in ((0.83, 600), (0.76, 400))
        ]
        evidence = fit.gather_evidence(*splits, saved_epoch=40)
        assert evidence.gap_low == pytest.approx(
            newcombe_interval(498 * times, 600 * times, 304 * times, 400 * times)[0]
        )
        assert fit.judge_fit(history, evidence, **LIMITS)["cause"] == cause


def test_interval_of_unpaired_shares_agrees_with_newcombe_s_examples() -> None:
    """Newcombe 1998, table II, method 10; then by solving Wilson's equation for the bounds, which the formula needs."""
    published = {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (9, 10, 3, 10): (0.1705, 0.8090),
        (0, 10, 0, 10): (-0.2775, 0.2775),
    }
    for counts, bounds in published.items():
        assert newcombe_interval(*counts) == pytest.approx(bounds, abs=6e-5)
    z = 1.959963984540054

    def solve(k: int, n: int, low: float, high: float) -> float:
        return float(brentq(lambda p: (k / n - p) ** 2 - z * z * p * (1 - p) / n, low, high, xtol=1e-14))

    p, q = 56 / 70, 48 / 80
    low = p - q - np.hypot(p - solve(56, 70, 0, p), solve(48, 80, q, 1) - q)
    assert newcombe_interval(56, 70, 48, 80)[0] == pytest.approx(low, abs=1e-10)


@pytest.mark.parametrize(
    ("variant", "history", "changes", "settings"),
    [
        ("baseline", "learnt by heart", {}, "augment=false,true"),
        ("augmented", "learnt by heart", {}, "l2=0,1e-4,1e-3"),
        ("transfer", "a gap, and no rise", {"dropout": 0.2}, "dropout=0.2,0.5"),
        ("baseline", "ended too early", {}, "epochs=38,76"),
        ("baseline", "too small", {}, "width=32,64"),
        ("augmented", "too small", {}, "augment=true,false"),
        ("baseline", "too small", {"dropout": 0.4}, "dropout=0.4,0.1"),
        ("transfer", "too small", {"dropout": 0}, "input=files unfreeze=0,3"),
        ("baseline", "diverged", {"learning_rate": 0.1}, "learning_rate=0.1,0.03"),
    ],
)
def test_next_knob_is_a_value_that_the_block_has_not_yet(
    variant: str, history: str, changes: dict[str, Any], settings: str
) -> None:
    block = PARAMS.variants[variant].model_dump() | changes
    knob = fit.choose_knob(variant, fit.judge_fit(HISTORIES[history][2], **LIMITS), block)
    assert knob["command"] == f"cvd search {variant} {settings}"
    taken = block | {"augment": True, "dropout": 0.5, "l2": 0.1, "share": 1}
    assert fit.choose_knob(variant, fit.judge_fit(HISTORIES["learnt by heart"][2], **LIMITS), taken)["command"] == (
        fit.MORE_IMAGES
    )
    assert "seed" in fit.choose_knob(variant, fit.judge_fit(HISTORIES["good"][2], **LIMITS), block)["command"]


def test_network_of_ones_own_without_a_width_learns_faster_instead() -> None:
    block = {key: value for key, value in PARAMS.variants["baseline"].model_dump().items() if key != "width"}
    knob = fit.choose_knob("pocket", fit.judge_fit(HISTORIES["too small"][2], **LIMITS), block)
    assert knob["command"] == "cvd search pocket learning_rate=0.0001,0.0003"
