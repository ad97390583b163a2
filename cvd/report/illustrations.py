"""The charts of the report, and what they show in words."""

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from cvd.evaluation.lesson.cures import describe_cures
from cvd.evaluation.lesson.sizes import describe_sizes
from cvd.evaluation.verdict import describe_overfitting
from cvd.report.pictures import encode_figure
from cvd.report.results import Results
from cvd.runtime.threads import count_cores, end_with_parent
from cvd.vis.charts.cures import draw_cures
from cvd.vis.charts.diagnostics import draw_reliability, draw_roc
from cvd.vis.charts.forests import draw_differences, draw_overfitting
from cvd.vis.charts.sizes import draw_sizes
from cvd.vis.charts.themes import DARK, LIGHT, share_layout

MOST_AT_ONCE = 4  # processes, of some 100 MB each

Sources = list[dict[str, Any]]
"""A chart as a page offers it: `media` queries and a `picture` each, in the order in which a browser tries them."""


def list_charts(results: Results) -> dict[str, Callable[..., Figure]]:
    """List what draws each chart, by name; all take a `theme`, and all but `roc` take `tall`."""
    test = {name: figures["test"] for name, figures in results.metrics.items()}
    aucs = {name: figures["auc"] for name, figures in test.items()}
    eces = {name: figures["ece"] for name, figures in test.items()}
    classes = results.classes
    pairs = results.comparison["pairs"]
    makers: dict[str, Callable[..., Figure]] = {
        "overfitting": partial(draw_overfitting, results.comparison["overfitting"]),
        "reliability": partial(draw_reliability, results.reliability, classes=classes, eces=eces),
        "roc": partial(draw_roc, results.roc, classes=classes, aucs=aucs),
    }
    if pairs:
        makers["differences"] = partial(draw_differences, pairs)
    if results.cures is not None:
        makers["cures"] = partial(draw_cures, results.cures)
    if results.sizes is not None:
        makers["sizes"] = partial(draw_sizes, results.sizes)
    return makers


def start_charts(results: Results) -> dict[str, Future[Sources]]:
    """Start drawing each chart for narrow and wide screens, dark and light, in processes beside this one."""
    pool = ProcessPoolExecutor(min(count_cores(), MOST_AT_ONCE), initializer=end_with_parent)
    charts = {
        name: pool.submit(_draw_sources, make, tall_too=name != "roc") for name, make in list_charts(results).items()
    }
    pool.shutdown(wait=False)
    return charts


def _draw_sources(make: Callable[..., Figure], *, tall_too: bool) -> Sources:
    sources = []
    for form in ({"tall": True}, {"tall": False}) if tall_too else ({},):
        dark, light = make(theme=DARK, **form), make(theme=LIGHT, **form)
        pictures = {"(prefers-color-scheme: dark)": encode_figure(dark)}
        share_layout(light, dark)
        pictures[""] = encode_figure(light)
        for scheme, picture in pictures.items():
            queries = ("(max-width: 640px)" if form.get("tall") else "", scheme)
            sources.append({"media": " and ".join(filter(None, queries)), "picture": picture})
    return sources


def describe_charts(results: Results) -> dict[str, list[str]]:
    """Describe the charts in words, for those who do not see them."""
    rows, test = results.comparison["overfitting"], {name: figures["test"] for name, figures in results.metrics.items()}
    return {
        "descriptions": [describe_overfitting(row) for row in rows],
        "calibrations": [f"{name}: calibration error {figures['ece']:.3f}." for name, figures in test.items()],
        "cured": [] if results.cures is None else describe_cures(results.cures),
        "growths": [] if results.sizes is None else describe_sizes(results.sizes),
        "areas": [f"{name}: area {figures['auc']:.3f}." for name, figures in test.items()],
    }
