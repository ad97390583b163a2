"""Compare across seeds: how far training differs by luck, and which differences between variants outlast it."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp

from cvd.evaluation.lesson.cures import BASE, RUNGS
from cvd.evaluation.statistics import adjust_holm
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import LEVEL, format_p, format_percent, format_points
from cvd.runtime.errors import InputError
from cvd.runtime.experiments import Outcome

ENOUGH = 3  # seeds from which an interval is given; of two it would span all that is possible

Runs = dict[str, dict[int, Outcome]]  # {variant: {seed: outcome}}


def gather_seeds(outcomes: Sequence[Outcome], variants: Sequence[str] | None = None) -> Runs:
    """Gather the outcomes that differ from their variant's first one in `seed` only; the first of a seed counts."""
    runs: Runs = {}
    references: dict[str, Outcome] = {}
    for outcome in outcomes:
        if variants and outcome.variant not in variants:
            continue
        first = references.setdefault(outcome.variant, outcome)
        if (outcome.settings, outcome.data) == (first.settings, first.data):
            runs.setdefault(outcome.variant, {}).setdefault(outcome.seed, outcome)
    return {variant: dict(sorted(by_seed.items())) for variant, by_seed in runs.items()}


def summarise_seeds(runs: Runs) -> dict[str, Any]:
    """Summarise each variant over its seeds, and each pair's differences over the seeds that both have.

    Returns:
        `variants`: test accuracy's `mean`, `sd` (n - 1; None of one seed), `low` and `high` (the least and the most),
        and `gap`, the mean of `overfitting.accuracy_gap`. `pairs`: `difference` (second minus first, mean),
        `sd`, and from `ENOUGH` seeds on Student's 95% interval `difference_low`, `difference_high` over the seeds, `p`
        of the paired t test, `p_holm` over all pairs; `n_ahead`: seeds in which the second is better; a `sentence`.
    """
    accuracies = {
        variant: {seed: outcome.metrics["test"]["accuracy"] for seed, outcome in by_seed.items()}
        for variant, by_seed in runs.items()
    }
    rows = []
    for variant, by_seed in runs.items():
        values = np.array(list(accuracies[variant].values()))
        gaps = [outcome.metrics["overfitting"]["accuracy_gap"] for outcome in by_seed.values()]
        rows.append(
            {
                "variant": variant,
                "seeds": list(by_seed),
                "accuracies": values.tolist(),
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
                "low": float(values.min()),
                "high": float(values.max()),
                "gap": float(np.mean(gaps)),
                "experiments": [outcome.experiment for outcome in by_seed.values()],
                "n_codes": len({outcome.code for outcome in by_seed.values()}),
            }
        )
    return {"variants": rows, "pairs": _compare_pairs(accuracies)}


def _compare_pairs(accuracies: Mapping[str, Mapping[int, float]]) -> list[dict[str, Any]]:
    pairs = []
    for first, second in combinations(accuracies, 2):
        seeds = sorted(accuracies[first].keys() & accuracies[second].keys())
        if len(seeds) > 1:
            differences = np.array([accuracies[second][seed] - accuracies[first][seed] for seed in seeds])
            pairs.append({"first": first, "second": second, "seeds": seeds, **measure_differences(differences)})
    tested = [pair for pair in pairs if pair["p"] is not None]
    for pair, p_holm in zip(tested, adjust_holm([pair["p"] for pair in tested]), strict=True):
        pair["p_holm"] = float(p_holm)
    for pair in pairs:
        pair["sentence"] = describe_pair(pair)
    return pairs


def measure_differences(differences: np.ndarray) -> dict[str, Any]:
    """Measure paired differences (seeds,), at least two: mean, spread; Student's t interval and p-value (1908)."""
    figures: dict[str, Any] = {
        "difference": float(differences.mean()),
        "sd": float(differences.std(ddof=1)),
        "n_ahead": int((differences > 0).sum()),
        "n_behind": int((differences < 0).sum()),
        **dict.fromkeys(("difference_low", "difference_high", "p", "p_holm")),
    }
    # Without any spread there is nothing to test: equal networks, or the grain of few test images.
    if len(differences) >= ENOUGH and np.ptp(differences) > 0:
        test = ttest_1samp(differences, 0)
        interval = test.confidence_interval(0.95)
        figures |= {"difference_low": float(interval.low), "difference_high": float(interval.high)}
        figures["p"] = float(test.pvalue)
    return figures


def describe_pair(pair: Mapping[str, Any]) -> str:
    """Say in one plain sentence whether the difference outlasts the luck of the seed."""
    first, second, n = pair["first"], pair["second"], len(pair["seeds"])
    sign = 1 if pair["difference"] >= 0 else -1
    better, worse = (second, first) if sign > 0 else (first, second)
    if not pair["n_ahead"] and not pair["n_behind"]:
        return f"{first} and {second} are right equally often with each of {n} seeds."
    ahead = f"ahead in {pair['n_ahead'] if sign > 0 else pair['n_behind']} of {n}"
    lead = f"{better} is {format_points(abs(pair['difference']), sign=False)} points above {worse} on average, {ahead}"
    if pair["p"] is None:
        return f"{lead}: too few seeds, or too little spread, to tell luck apart; {ENOUGH} seeds are the least."
    low, high = sorted((sign * pair["difference_low"], sign * pair["difference_high"]))
    evidence = f"(95% interval {format_points(low)} to {format_points(high)}; {format_p(pair['p_holm'])})"
    if pair["p_holm"] < LEVEL:
        return f"{lead} {evidence}: more than the luck of the seed explains."
    return f"{lead} {evidence}: {n} seeds cannot tell whether that is luck."


def tabulate_ladder(runs: Runs) -> pd.DataFrame:
    """Tabulate the rungs of the ladder of cures over their seeds, for `cvd.vis.charts.cures.draw_cures`.

    Figures are means over the seeds. Intervals are Student's, 95%, from `ENOUGH` seeds on, else the least and the most.

    Raises:
        InputError: the base, or every cure, has no run.
    """
    rows = []
    for name in (name for name in RUNGS if name in runs):
        every = [outcome.metrics for outcome in runs[name].values()]
        row: dict[str, Any] = {"variant": name, "cure": f"{RUNGS[name][0]} ({len(every)})"}
        row["validation"] = float(np.mean([metrics["validation"]["accuracy"] for metrics in every]))
        for key, section, figure in (("test", "test", "accuracy"), ("gap", "overfitting", "accuracy_gap")):
            row |= _bound(key, np.array([metrics[section][figure] for metrics in every]))
        rows.append(row)
    table = pd.DataFrame(rows)
    if BASE not in runs or len(table) < 2:
        raise InputError(f"the ladder needs runs of {BASE} and of a cure: there are {', '.join(runs) or 'none'}")
    return table


def _bound(key: str, values: np.ndarray) -> dict[str, float]:
    """Bound the mean of values, one for each seed."""
    low, high = float(values.min()), float(values.max())
    if len(values) >= ENOUGH:
        half = float(student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        low, high = float(values.mean()) - half, float(values.mean()) + half
    return {key: float(values.mean()), f"{key}_low": low, f"{key}_high": high}


def render_seeds(summary: Mapping[str, Any]) -> str:
    """Render the summary as Markdown: a table of the variants, one of each seed, a sentence for each pair."""
    heads = ["variant", "seeds", "test accuracy, mean", "standard deviation, points", "least to most", "gap, points"]
    rows = [
        [
            row["variant"],
            str(len(row["seeds"])),
            format_percent(row["mean"]),
            "" if row["sd"] is None else format_points(row["sd"], sign=False),
            f"{format_percent(row['low'])} to {format_percent(row['high'])}",
            format_points(row["gap"]),
        ]
        for row in summary["variants"]
    ]
    seeds = sorted({seed for row in summary["variants"] for seed in row["seeds"]})
    lines = []
    for row in summary["variants"]:
        cells = dict(zip(row["seeds"], map(format_percent, row["accuracies"]), strict=True))
        lines.append([row["variant"], *(cells.get(seed, "") for seed in seeds)])
    parts = [render_table(heads, rows), render_table(["variant", *(f"seed {seed}" for seed in seeds)], lines)]
    parts += ["\n".join(f"- {pair['sentence']}" for pair in summary["pairs"])] if summary["pairs"] else []
    if mixed := [row["variant"] for row in summary["variants"] if row["n_codes"] > 1]:
        parts.append(f"Not all trainings of {', '.join(mixed)} ran the same code.")
    parts.append(
        "Same test images, same data, same parameters but `seed`: the spread is the luck of initial weights, order of "
        "images, augmentation and dropout. Intervals: Student's t over the seeds; p: paired t test, Holm's correction."
    )
    return "\n\n".join(parts) + "\n"
