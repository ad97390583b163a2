"""A search in numbers and words: a table, the winner by validation, and what luck among so many would give."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from scipy.integrate import quad
from scipy.stats import norm

from cvd.evaluation.statistics import wilson_interval
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import format_percent, format_points

COLUMNS = (
    *("label", "parameters", "epochs", "saved_epoch", "train", "validation", "validation_low", "validation_high"),
    *("validation_loss", "gap", "state", "seconds", "fault"),
)


class Trial(TypedDict):
    """A trained point; with a `fault`, in words, it has no figures."""

    label: str
    settings: dict[str, Any]
    fault: str
    parameters: int
    epochs: int
    saved_epoch: int
    train: float
    validation: float
    validation_loss: float
    gap: float
    state: str
    seconds: float
    right: str  # a digit for each validation image: 1 where the network is right


class Luck(TypedDict):
    """What the best of `n` equally good networks gains by luck, and what the formula is made of; shares 0..1."""

    n: int
    n_images: int
    mean: float
    correlation: float
    largest: float  # expected largest of n standard normal numbers
    lead: float  # expected, by luck
    lead_high: float  # that luck exceeds in 5% of such searches
    winner_lead: float  # of the winner over the mean


def tabulate_trials(trials: Sequence[Trial]) -> pd.DataFrame:
    """Tabulate trials as COLUMNS, the best on validation first, with Wilson's 95% interval; failed ones come last."""
    rows = []
    for trial in sorted(trials, key=rank_trial):
        row: dict[str, Any] = {key: trial.get(key) for key in COLUMNS}
        if right := trial.get("right"):
            low, high = wilson_interval(right.count("1"), len(right))
            row |= {"validation_low": float(low), "validation_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def rank_trial(trial: Trial) -> tuple[bool, float, float]:
    """Make the key that sorts trials: by validation accuracy, and of equals by the lower validation loss."""
    return bool(trial["fault"]), -(trial.get("validation") or 0.0), trial.get("validation_loss") or 0.0


def find_winner(trials: Sequence[Trial]) -> Trial | None:
    """Find the best trial on validation; None where all failed."""
    best = min(trials, key=rank_trial)
    return None if best["fault"] else best


def expect_largest(n: int) -> float:
    """Compute the expected largest of `n` independent standard normal numbers: integral of x n phi(x) Phi(x)^(n-1)."""
    value, _ = quad(lambda x: x * n * norm.pdf(x) * norm.cdf(x) ** (n - 1), -10, 12, limit=200)
    return float(value)


def measure_luck(trials: Sequence[Trial]) -> Luck:
    """Measure what luck with the validation images gives the best of these networks, were all equally good.

    Let each of N networks be right on n images with probability p, and let the networks agree with correlation r, since
    all see the same images. Their accuracies are then nearly normal, with variance p (1 - p) / n. The share r of this
    variance is common to all networks and favours none. The best is expected above the mean by
    sqrt(p (1 - p) (1 - r) / n) m(N), where m(N) is the expected largest of N standard normal numbers (Tippett 1925). In
    5% of such searches it is more than the same root times z, with Phi(z)^N = 95%. p and r are estimated: p as the mean
    accuracy, r as the mean correlation of the pairs' right answers.
    """
    right = np.array([[digit == "1" for digit in trial["right"]] for trial in trials if not trial["fault"]], float)
    n, n_images = right.shape
    accuracies = right.mean(axis=1)
    p = float(accuracies.mean())
    centred = right - accuracies[:, None]  # (networks, images)
    covariance = centred @ centred.T / n_images
    others = ~np.eye(n, dtype=bool)
    # The mean covariance of pairs over the mean variance: defined too where a network is always right.
    variance = float(np.trace(covariance) / n)
    correlation = float(covariance[others].mean() / variance) if n > 1 and variance else 0.0
    largest = expect_largest(n)
    deviation = float(np.sqrt(p * (1 - p) * max(0.0, 1 - correlation) / n_images))
    return {
        "n": n,
        "n_images": n_images,
        "mean": p,
        "correlation": correlation,
        "largest": largest,
        "lead": deviation * largest,
        "lead_high": deviation * float(norm.ppf(0.95 ** (1 / n))),
        "winner_lead": float(accuracies.max()) - p,
    }


def describe_luck(luck: Luck) -> str:
    """Describe in plain words what luck among so many would give, with the formula and its figures."""
    if luck["n"] < 2:
        return "One network was tried: there was nothing to choose among."
    formula = (
        f"sqrt(p (1 \N{MINUS SIGN} p) (1 \N{MINUS SIGN} r) / n) m(N), with mean accuracy p = {luck['mean']:.3f}, "
        f"correlation of the answers r = {luck['correlation']:.2f}, n = {luck['n_images']} images and "
        f"m({luck['n']}) = {luck['largest']:.2f}"
    )
    lead, high, winner = (format_points(luck[key], sign=False) for key in ("lead", "lead_high", "winner_lead"))
    verdict = "more than luck explains" if luck["winner_lead"] > luck["lead_high"] else "luck may be all that it has"
    return (
        f"{luck['n']} networks were tried. Were all equally good, luck with the validation images would put the best "
        f"{lead} points above their mean, and in one search of twenty {high} or more: {formula}. The winner stands "
        f"{winner} above: {verdict}."
    )


def describe_winner(winner: Trial, base: str) -> str:
    """Name the winner with its validation figure."""
    low, high = wilson_interval(winner["right"].count("1"), len(winner["right"]))
    interval = f"95% {format_percent(float(low))} to {format_percent(float(high))}, before the choice"
    accuracy = format_percent(winner["validation"])
    return f"By validation the winner is {base} with {winner['label']}: {accuracy} ({interval})."


def describe_test(test: Mapping[str, int], validation: float) -> str:
    """Describe the test figure of the winner, which no choice was made on."""
    n_right, n = test["n_right"], test["n_images"]
    low, high = (format_percent(float(bound)) for bound in wilson_interval(n_right, n))
    change = format_points(n_right / n - validation)
    return (
        f"On the test images, opened once and for the winner alone: {format_percent(n_right / n)} of {n:,} "
        f"(95% {low} to {high}), {change} points from its validation figure."
    )


def render_trials(table: pd.DataFrame) -> str:
    """Render the table as Markdown."""
    heads = ["settings", "verdict", "parameters", "epoch", "train", "validation (95%)", "loss", "gap, points", "s"]
    rows = []
    for row in table.to_dict("records"):
        if row["fault"]:
            rows.append([row["label"], row["fault"], *[""] * (len(heads) - 2)])
            continue
        bounds = f"{format_percent(row['validation_low'])} to {format_percent(row['validation_high'])}"
        rows.append(
            [
                row["label"],
                row["state"],
                f"{row['parameters']:,.0f}",
                f"{row['saved_epoch']:.0f} of {row['epochs']:.0f}",
                format_percent(row["train"]),
                f"{format_percent(row['validation'])} ({bounds})",
                f"{row['validation_loss']:.3f}",
                format_points(row["gap"]),
                f"{row['seconds']:,.0f}",
            ]
        )
    return render_table(heads, rows, n_left=2)
