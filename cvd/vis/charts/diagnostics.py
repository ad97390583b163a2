"""Draw ROC, reliability and confusion of the variants, and a sheet of one variant with all of them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cvd.evaluation.figures import Metrics, list_classes
from cvd.evaluation.verdict import format_percent
from cvd.runtime.vocabulary import Classes, pluralise
from cvd.vis.charts.curves import N_ACROSS, draw_panel
from cvd.vis.charts.themes import LIGHT, NARROW, Theme, choose_colours, measure_contrast

STYLES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))


def draw_roc(
    tables: dict[str, pd.DataFrame], *, classes: Classes, aucs: dict[str, float], theme: Theme = LIGHT
) -> Figure:
    """Draw the ROC curves of all variants, tables of `cvd.evaluation.measures.tabulate_test`."""
    colours = choose_colours(tables, theme)
    figure = theme.create_figure(NARROW, NARROW)
    axes = figure.subplots()
    _frame_square(axes, *_name_rates(classes), theme)
    for i, (name, table) in enumerate(tables.items()):
        # Equal curves of equal networks lie upon each other: the later one is thinner, so that both show.
        axes.plot(
            table["false_positive_rate"],
            table["true_positive_rate"],
            color=colours[name],
            linewidth=max(1.4, 2.8 - 0.45 * i),
            linestyle=STYLES[i % len(STYLES)],
            label=f"{name}, AUC {aucs[name]:.3f}",
        )
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=theme.ink, handlelength=3)
    return figure


def _name_rates(classes: Classes) -> tuple[str, str]:
    first, second = map(pluralise, classes)
    return f"{first} taken for {second}", f"{second} recognised"


def _frame_square(axes: Axes, x: str, y: str, theme: Theme) -> None:
    theme.dress(axes)
    axes.plot([0, 1], [0, 1], color=theme.muted, linewidth=1, linestyle=(0, (2, 3)))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_ticks([0, 0.5, 1])


def draw_reliability(
    tables: dict[str, pd.DataFrame],
    *,
    classes: Classes,
    eces: dict[str, float],
    theme: Theme = LIGHT,
    tall: bool = False,
) -> Figure:
    """Draw how often "p%" of the second class is right on each variant's test images; a mark's area: number of images.

    `tables` are as of `cvd.evaluation.statistics.tabulate_reliability`; `tall` sets two side by side.
    """
    colours = choose_colours(tables, theme)
    figure, grid = _create_squares(len(tables), theme, tall)
    for axes, (name, table) in zip(grid, tables.items(), strict=True):
        _draw_reliability(axes, table, classes, colours[name], theme)
        theme.write_title(axes, name, f"calibration error {eces[name]:.3f}", colours[name])
    return figure


def _draw_reliability(axes: Axes, table: pd.DataFrame, classes: Classes, colour: str, theme: Theme) -> None:
    _frame_square(axes, f"predicted share of {pluralise(classes[1])}", "observed share", theme)
    predicted, observed, areas = table["predicted"], table["observed"], 12 + 260 * table["n"] / table["n"].sum()
    axes.vlines(predicted, table["observed_low"], table["observed_high"], color=colour, linewidth=1.4, alpha=0.7)
    axes.plot(predicted, observed, color=colour, linewidth=1.4)
    axes.scatter(predicted, observed, s=areas, color=colour, alpha=0.85, linewidth=0)


def _draw_confusion(axes: Axes, counts: list[list[int]], classes: Classes, colour: str, theme: Theme) -> None:
    theme.dress(axes)
    axes.grid(False)
    matrix = np.array(counts)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    colours = LinearSegmentedColormap.from_list("shares", [theme.paper, colour])
    axes.imshow(shares, cmap=colours, vmin=-0.08, vmax=1)
    for (row, column), n in np.ndenumerate(matrix):
        back = colours(float(shares[row, column] + 0.08) / 1.08)
        ink = max(("#101418", "#ffffff"), key=lambda ink: measure_contrast(back, ink))
        share = format_percent(float(shares[row, column]), 0)
        axes.text(column, row - 0.06, f"{n:,}", ha="center", va="center", fontsize=15, fontweight="bold", color=ink)
        axes.text(column, row + 0.22, share, ha="center", va="center", fontsize=9, color=ink)
    axes.set_xticks([0, 1], [f"taken for {classes[0]}", f"for {classes[1]}"])
    axes.set_yticks([0, 1], classes)


def _create_squares(n: int, theme: Theme, tall: bool) -> tuple[Figure, list[Axes]]:
    """Create `n` squares in rows of at most four, or two where it is narrow."""
    n_across, side = (min(n, 2), NARROW / 2) if tall else (min(n, N_ACROSS), 2.7)
    height = (side + 0.35) * -(-n // n_across)
    return theme.create_grid(n, n_across, width=max(side * n_across, 3.4), height=height)


def draw_variant(
    name: str, metrics: Metrics, *, curves: pd.DataFrame, tables: Mapping[str, pd.DataFrame], theme: Theme = LIGHT
) -> Figure:
    """Draw one sheet of a variant: its curves above; ROC, reliability and confusion on the test images below.

    `curves` are as of `evaluation.overfitting.tabulate_curves`, `tables` of `evaluation.measures.tabulate_test`.
    """
    colour = choose_colours([name], theme)[name]
    figure = theme.create_figure(10.5, 8)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.15)).flat
    for part in (above, below):
        part.set_facecolor(theme.paper)
    for axes, what in zip(above.subplots(1, 2), ("accuracy", "loss"), strict=True):
        draw_panel(axes, curves, what, colour=colour, theme=theme)
        axes.set_xlabel("epoch")
        note = "training dashed, validation solid; ring: lowest validation loss"
        theme.write_title(axes, f"{name}: {what}", note, colour)
    test, roc, classes = metrics["test"], tables["roc"], list_classes(metrics)
    squares = below.subplots(1, 3)
    _frame_square(squares[0], *_name_rates(classes), theme)
    squares[0].plot(roc["false_positive_rate"], roc["true_positive_rate"], color=colour, linewidth=2)
    theme.write_title(squares[0], "ROC", f"AUC {test['auc']:.3f}", colour)
    _draw_reliability(squares[1], tables["reliability"], classes, colour, theme)
    theme.write_title(squares[1], "Reliability", f"calibration error {test['ece']:.3f}", colour)
    _draw_confusion(squares[2], test["confusion"], classes, colour, theme)
    interval = f"{format_percent(test['accuracy_low'])} to {format_percent(test['accuracy_high'])}"
    title = f"{format_percent(test['accuracy'])} right"
    theme.write_title(squares[2], title, f"95% interval {interval}", colour)
    return figure
