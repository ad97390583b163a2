"""Which faults of the data the figures of the other stages show: suspect labels, a leak, a shortcut."""

from collections.abc import Iterator, Mapping
from typing import Any

from cvd.evaluation.verdict import format_percent
from cvd.report.extras import CHANCE, DataSummary, Explanations

USED = 5  # times its share of the image: the heat on a watermark that a network uses


def list_faults(intake: DataSummary | None, labels: Mapping[str, Any] | None, explanations: Explanations) -> list[str]:
    """List the faults that were found, a sentence or two each, the ones that make figures wrong first.

    Args:
        intake: metrics/data.json.
        labels: metrics/labels.json.
        explanations: metrics/explanations/; only runs with a planted watermark have its figures.
    """
    faults = []
    if intake and (n := intake["near_duplicates"].get("leaked")):
        faults.append(
            f"A leak: {n:,} validation and test images have a near-copy among the training images, so networks look "
            "better than they are. `split.group_duplicates: true` keeps copies in one split."
        )
    faults += _list_shortcuts(explanations)
    if labels and (planted := labels.get("planted")):
        n, among = planted["labels"], planted["among"]
        recall = format_percent(planted["recall_at_planted"])
        faults.append(
            f"Wrong labels: {n:,} of {among:,} training labels were exchanged on purpose. {recall} of them are among "
            f"the {n:,} most suspicious."
        )
    if labels and (n := labels["suspects"]):
        faults.append(
            f"{n:,} of {labels['images']:,} labels look wrong. `plots/labels/suspects.png` shows the worst, and "
            "`cvd labels` lists them and takes corrections."
        )
    return faults


def _list_shortcuts(explanations: Explanations) -> Iterator[str]:
    """Say of each network how much of its heat lies on the watermark, by the last method's last layer."""
    for variant, methods in explanations.items():
        *_, (method, layers) = ((name, layers) for name, layers in methods.items() if name != CHANCE)
        layer, figures = list(layers.items())[-1]
        if "watermark_share" not in figures:
            continue
        share = figures["watermark_share"]
        [chance] = (noise["watermark_share"] for noise in methods[CHANCE].values())
        amount = (
            f"{format_percent(share)} of the heat of {variant} lies on the watermark, {share / chance:.1f} times chance"
        )
        verdict = f"A shortcut: {amount}" if share >= USED * chance else f"No shortcut: {amount}"
        yield f"{verdict} ({method} at {layer}). Test images have no watermark."
