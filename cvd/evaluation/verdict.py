"""Figures put into words for people: honest where the data cannot tell."""

import math
from collections.abc import Sequence

from cvd.evaluation.figures import Change, Measured, Metrics, OverfittingRow, Pair, Rank, TimingSummary

GUESS_LOSS = math.log(2)  # of who says 50% each time
LEVEL = 0.05  # of the whole family of pairs, after Holm's correction


def format_percent(share: float, digits: int = 1) -> str:
    """0.8225 -> `82.2%` (or as many digits as are asked for)."""
    return f"{100 * share:.{digits}f}%"


def format_points(share: float, *, sign: bool = True) -> str:
    """A difference of shares in percentage points: 0.0325 -> `+3.2`, with a true minus; never `-0.0`."""
    text = format_signed(100 * share, 1)
    return text if sign else text.removeprefix("+")


def format_signed(value: float, digits: int = 3) -> str:
    """A difference with its sign, a true minus: 0.0312 -> `+0.031`; never `-0.000`."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if text.strip("+-0.") else text[1:]


def format_p(p: float) -> str:
    """A p-value as people write it: `p = 0.03`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def describe_metrics(name: str, metrics: Metrics) -> str:
    """Describe a variant's main figures in one line."""
    test, overfitting = metrics["test"], metrics["overfitting"]
    return (
        f"{name}: test accuracy {test['accuracy']:.4f} ({test['accuracy_low']:.4f} to {test['accuracy_high']:.4f}), "
        f"train {metrics['train']['accuracy']:.4f}, validation {metrics['validation']['accuracy']:.4f}, "
        f"gap {overfitting['accuracy_gap']:+.4f}, best epoch {overfitting['best_epoch']} of "
        f"{metrics['training']['epochs']}: {overfitting['state']}"
    )


def describe_pair(pair: Pair, *, n_images: int) -> str:
    """Describe a pair in one plain sentence."""
    first, second = pair["first"], pair["second"]
    if pair["same_logits"]:
        return (
            f"{first} and {second} are the same network: "
            f"on all {n_images:,} test images their outputs are equal to the last bit."
        )
    if not pair["only_first_right"] and not pair["only_second_right"]:
        return f"{first} and {second} are right and wrong on the very same test images."
    better, worse, sign = (second, first, 1) if pair["difference"] >= 0 else (first, second, -1)
    low, high = sorted((sign * pair["difference_low"], sign * pair["difference_high"]))
    interval = f"95% interval {format_points(low)} to {format_points(high)}"
    if pair["difference"] == 0:
        return (
            f"{first} and {second} are right equally often ({interval}), though not on the same images: "
            f"{n_images:,} of them cannot tell the two apart."
        )
    points = f"{format_points(abs(pair['difference']), sign=False)} points"
    evidence = f"({interval}; {format_p(pair['p_holm'])})"
    if pair["p_holm"] < LEVEL:
        return f"{better} beats {worse} by {points} {evidence}: more than luck with the test images explains."
    lead = f"{better} is {points} ahead of {worse} {evidence}"
    if low > 0 or pair["p"] < LEVEL:
        return f"{lead}: a hint, but not beyond doubt after correcting for the number of pairs."
    return f"{lead}: {n_images:,} test images cannot tell whether that is luck."


def describe_change(name: str, change: Change) -> str:
    """Describe in one line what became of a variant on the same test images."""
    old, new = (format_percent(change[when]["accuracy"]) for when in ("before", "after"))
    if not change["only_before_right"] and not change["only_after_right"]:
        return f"{name}: {new}, right and wrong on the very same test images as before"
    interval = f"{format_points(change['difference_low'])} to {format_points(change['difference_high'])}"
    points = f"{format_points(change['difference'])} points, 95% {interval}"
    return f"{name}: {new} (was {old}): {points}: {judge_change(change)}"


def judge_change(change: Change) -> str:
    """Judge by McNemar's exact test whether a change can be told from luck with the test images."""
    if change["p"] < LEVEL:
        return "more than luck with the test images"
    if change["difference_low"] > 0 or change["difference_high"] < 0:
        return "a hint, not beyond luck"
    return "cannot be told from luck"


def describe_unpaired(name: str, before: Measured, after: Measured) -> str:
    """Describe in one line a variant that was tested on other images than before."""
    old, new = (
        f"{format_percent(row['accuracy'])}, 95% {format_percent(row['accuracy_low'])} to "
        f"{format_percent(row['accuracy_high'])}"
        for row in (before, after)
    )
    return f"{name}: {new} (was {old}): on other test images, so nothing can be paired"


def find_twins(pairs: Sequence[Pair]) -> dict[str, str]:
    """Find variants whose test outputs equal those of an earlier one to the last bit: {later: earliest}."""
    twins: dict[str, str] = {}
    for pair in pairs:
        if pair["same_logits"] and pair["second"] not in twins:
            twins[pair["second"]] = twins.get(pair["first"], pair["first"])
    return twins


def list_distinct_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """List the pairs without those that only repeat what a twin's pair says."""
    twins = find_twins(pairs)
    return [pair for pair in pairs if pair["same_logits"] or not twins.keys() & {pair["first"], pair["second"]}]


def describe_overfitting(row: OverfittingRow) -> str:
    """Describe in one plain sentence whether a variant is under-fitted, well fitted or over-fitted, and by what."""
    name, gap = row["variant"], format_points(row["accuracy_gap"], sign=False)
    train, validation = format_percent(row["train_accuracy"]), format_percent(row["validation_accuracy"])
    accuracies = f"{train} of its training images right, {validation} of the validation images"
    reason = {
        "passed": f"its validation loss rose for good after epoch {row['onset_epoch']} of {row['epochs']}",
        "gap": "the gap is more than luck with the images explains",
        "little": "it has not learned even its training images",
        "unstable": "its training loss rose as well",
        "unfinished": f"its validation loss still falls in epoch {row['epochs']}",
        "sound": "no sign of either fault",
    }[row["cause"]]
    return f"{name} is {row['state']}: {accuracies}, a gap of {gap} points; {reason}."


def describe_knob(row: OverfittingRow) -> str | None:
    """Describe what to turn next; None where no block of params.yaml is known."""
    return f"Next: {row['knob']['words']}: `{row['knob']['command']}`." if row["knob"] else None


def describe_stopping(row: OverfittingRow, timing: TimingSummary) -> str | None:
    """Describe what early stopping would have given, from the history of a training that kept its last epoch.

    None where that is what it gave, or where an epoch has no number.
    """
    best, last = row["validation_accuracy_best"], row["validation_accuracy_last"]
    if best is None or last is None or row["best_epoch"] == row["epochs"] or row["saved_epoch"] != row["epochs"]:
        return None
    seconds = f"{timing['seconds'] - timing['seconds_after_best']:,.0f} s instead of {timing['seconds']:,.0f}"
    return (
        f"Stopped at its best epoch, {row['best_epoch']} of {row['epochs']}, {row['variant']} would have a validation "
        f"accuracy of {format_percent(best)} instead of {format_percent(last)}, after {seconds}."
    )


def describe_cost(row: OverfittingRow) -> str | None:
    """Describe in a sentence what over-fitting cost; None without a lasting rise of the loss, or without numbers."""
    name, epochs, best = row["variant"], row["epochs"], row["best_epoch"]
    loss_best, loss_last = row["validation_loss_best"], row["validation_loss_last"]
    accuracy_best, accuracy_last = row["validation_accuracy_best"], row["validation_accuracy_last"]
    if row["onset_epoch"] is None or None in (loss_best, loss_last) or accuracy_best is None or accuracy_last is None:
        return None
    late = f"{epochs - best} of its {epochs} epochs, those after its lowest validation loss, in epoch {best}"
    if row["saved_epoch"] == best:
        return f"That cost {name} time only: {late}, were thrown away."
    return (
        f"That cost {name} {late}: they took it from {loss_best:.2f} to {loss_last:.2f} "
        f"(guessing costs {GUESS_LOSS:.2f}) and the validation accuracy from {format_percent(accuracy_best)} "
        f"to {format_percent(accuracy_last)}."
    )


def state_verdict(
    ranking: Sequence[Rank], pairs: Sequence[Pair], overfitting: Sequence[OverfittingRow], *, n_images: int
) -> list[str]:
    """State in a few sentences who is best, how surely, and how each is fitted: the largest gap first, at what cost."""
    twins = find_twins(pairs)
    ranked = [row for row in ranking if row["variant"] not in twins]
    best = ranked[0]
    sentences = [
        f"{best['variant']} is right on {format_percent(best['accuracy'])} of {n_images:,} test images "
        f"(95% interval {format_percent(best['accuracy_low'])} to {format_percent(best['accuracy_high'])})."
    ]
    if len(ranked) > 1:
        names = {best["variant"], second := ranked[1]["variant"]}
        others = f"Of the others {second} comes closest: " if len(ranked) > 2 else ""
        sentence = next(pair["sentence"] for pair in pairs if {pair["first"], pair["second"]} == names)
        sentences.append(f"{others}{sentence}")
    rows = sorted((row for row in overfitting if row["variant"] not in twins), key=lambda row: -row["accuracy_gap"])
    first = [describe_overfitting(rows[0]), describe_cost(rows[0]), describe_knob(rows[0])]
    sentences.append(" ".join(filter(None, first)))
    return [*sentences, *describe_others(rows[1:])]


def describe_others(rows: Sequence[OverfittingRow]) -> list[str]:
    """Describe how the other variants are fitted: one in a sentence of its own, more in one sentence together."""
    if len(rows) < 2:
        return [describe_overfitting(row) for row in rows]
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row["state"], []).append(row["variant"])
    return ["Of the others, " + "; ".join(f"{state}: {', '.join(group)}" for state, group in names.items()) + "."]
