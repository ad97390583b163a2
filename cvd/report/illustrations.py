"""The charts of the report, and what they show in words."""

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from cvd.evaluation.sizes import describe_sizes
from cvd.evaluation.verdict import describe_overfitting
from cvd.report.pictures import encode_figure
from cvd.report.results import Results
from cvd.vis.charts.curves import draw_curves
from cvd.vis.charts.diagnostics import draw_confusion, draw_reliability, draw_roc
from cvd.vis.charts.forests import draw_differences, draw_overfitting
from cvd.vis.charts.sizes import draw_sizes
from cvd.vis.charts.themes import DARK, LIGHT


def draw_charts(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Draw each chart for narrow and wide screens, dark and light, in the order in which a browser tries them."""
    test = {name: figures["test"] for name, figures in results.metrics.items()}
    aucs = {name: figures["auc"] for name, figures in test.items()}
    eces = {name: figures["ece"] for name, figures in test.items()}
    counts = {name: figures["confusion"] for name, figures in test.items()}
    pairs = results.comparison["pairs"]
    makers: dict[str, Callable[..., Figure]] = {
        "curves": lambda **how: draw_curves(results.curves, **how),
        "overfitting": lambda **how: draw_overfitting(results.comparison["overfitting"], **how),
        "reliability": lambda **how: draw_reliability(results.reliability, eces=eces, **how),
        "confusion": lambda **how: draw_confusion(counts, **how),
        "roc": lambda theme, tall: draw_roc(results.roc, aucs=aucs, theme=theme),
    }
    if pairs:
        makers["differences"] = lambda **how: draw_differences(pairs, **how)
    if (sizes := results.sizes) is not None:
        makers["sizes"] = lambda **how: draw_sizes(sizes, **how)
    return {name: _draw_sources(make, tall_too=name != "roc") for name, make in makers.items()}


def _draw_sources(make: Callable[..., Figure], *, tall_too: bool) -> list[dict[str, Any]]:
    sources = []
    for tall in (True, False) if tall_too else (False,):
        for theme in (DARK, LIGHT):
            queries = ("(max-width: 640px)" if tall else "", "(prefers-color-scheme: dark)" if theme is DARK else "")
            media = " and ".join(filter(None, queries))
            sources.append({"media": media, "picture": encode_figure(make(theme=theme, tall=tall))})
    return sources


def describe_charts(results: Results) -> dict[str, list[str]]:
    """Describe the charts in words, for those who do not see them."""
    rows, test = results.comparison["overfitting"], {name: figures["test"] for name, figures in results.metrics.items()}
    return {
        "descriptions": [describe_overfitting(row) for row in rows],
        "confusions": [
            f"{name}: {cats_wrong} cats taken for dogs, {dogs_wrong} dogs taken for cats."
            for name, figures in test.items()
            for (_, cats_wrong), (dogs_wrong, _) in [figures["confusion"]]
        ],
        "calibrations": [f"{name}: calibration error {figures['ece']:.3f}." for name, figures in test.items()],
        "growths": [] if results.sizes is None else describe_sizes(results.sizes),
        "areas": [f"{name}: area {figures['auc']:.3f}." for name, figures in test.items()],
    }
