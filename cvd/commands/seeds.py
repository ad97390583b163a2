"""Across seeds: what a training's luck is worth, and which differences between variants outlast it. No TensorFlow."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from cvd.evaluation.comparison import adjust_holm
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import LEVEL, format_p, format_percent, format_points
from cvd.runtime.experiments import Outcome

ENOUGH = 3  # seeds from which an interval is given; of two it would span all that is possible

Runs = dict[str, dict[int, Outcome]]
"""{variant: {seed: outcome}}"""


def gather_seeds(outcomes: Sequence[Outcome], variants: Sequence[str] | None = None) -> Runs:
    """Outcomes that differ in `seed` only, by variant and seed.

    Of each variant those are taken whose other parameters and data are the ones of the first outcome, hence of the
    workspace where it has one; of several with the same seed the first, hence the newest. Seeds in their order.
    """
    runs: Runs = {}
    reference: dict[str, Outcome] = {}
    for each in outcomes:
        if variants and each.variant not in variants:
            continue
        first = reference.setdefault(each.variant, each)
        if (each.settings, each.data) == (first.settings, first.data):
            runs.setdefault(each.variant, {}).setdefault(each.seed, each)
    return {variant: dict(sorted(found.items())) for variant, found in runs.items()}


def summarise_seeds(runs: Runs) -> dict[str, Any]:
    """Mean and spread of each variant over its seeds, and each pair's differences over the seeds that both have.

    Returns:
        `variants`: test accuracy's `mean`, `sd` (n - 1; None of one seed), `low` and `high` (the least and the most),
        and `gap`, the mean of `overfitting.accuracy_gap`. `pairs`: `difference` (second minus first, mean),
        `sd`, and from `ENOUGH` seeds on Student's 95% interval `difference_low`, `difference_high` over the seeds, `p`
        of the paired t test, `p_holm` over all pairs; `n_ahead`: seeds in which the second is better; a `sentence`.
    """
    accuracies = {
        variant: {seed: each.metrics["test"]["accuracy"] for seed, each in found.items()}
        for variant, found in runs.items()
    }
    rows = []
    for variant, found in runs.items():
        values = np.array(list(accuracies[variant].values()))
        gaps = [each.metrics["overfitting"]["accuracy_gap"] for each in found.values()]
        rows.append(
            {
                "variant": variant,
                "seeds": list(found),
                "accuracies": values.tolist(),
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
                "low": float(values.min()),
                "high": float(values.max()),
                "gap": float(np.mean(gaps)),
                "experiments": [each.experiment for each in found.values()],
                "n_codes": len({each.code for each in found.values()}),
            }
        )
    return {"variants": rows, "pairs": _compare(accuracies)}


def _compare(accuracies: Mapping[str, Mapping[int, float]]) -> list[dict[str, Any]]:
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
    """Mean, spread, and from `ENOUGH` on the t interval and p-value of paired differences (Student 1908).

    Args:
        differences: (seeds,), at least two.
    """
    mean = float(differences.mean())
    found: dict[str, Any] = {
        "difference": mean,
        "sd": float(differences.std(ddof=1)),
        "n_ahead": int((differences > 0).sum()),
        "n_behind": int((differences < 0).sum()),
        "difference_low": None,
        "difference_high": None,
        "p": None,
        "p_holm": None,
    }
    # Without any spread there is nothing to test: equal networks, or the grain of few test images.
    if len(differences) >= ENOUGH and np.ptp(differences) > 0:
        test = ttest_1samp(differences, 0)
        interval = test.confidence_interval(0.95)
        found |= {"difference_low": float(interval.low), "difference_high": float(interval.high)}
        found["p"] = float(test.pvalue)
    return found


def describe_pair(pair: Mapping[str, Any]) -> str:
    """One plain sentence: whether the difference outlasts the luck of the seed."""
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


def render_seeds(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown: a table of the variants, one of each seed, a sentence for each pair."""
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
    each = [
        [
            row["variant"],
            *(
                format_percent(row["accuracies"][row["seeds"].index(seed)]) if seed in row["seeds"] else ""
                for seed in seeds
            ),
        ]
        for row in summary["variants"]
    ]
    parts = [render_table(heads, rows), render_table(["variant", *(f"seed {seed}" for seed in seeds)], each)]
    parts += ["\n".join(f"- {pair['sentence']}" for pair in summary["pairs"])] if summary["pairs"] else []
    mixed = [row["variant"] for row in summary["variants"] if row["n_codes"] > 1]
    if mixed:
        parts.append(f"Not all trainings of {', '.join(mixed)} ran the same code.")
    parts.append(
        "Same test images, same data, same parameters but `seed`: the spread is the luck of initial weights, order of "
        "images, augmentation and dropout. Intervals: Student's t over the seeds; p: paired t test, Holm's correction."
    )
    return "\n\n".join(parts) + "\n"
