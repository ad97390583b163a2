"""Draw the ladder of cures: test accuracy and gap of each, with intervals."""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cvd.evaluation.lesson.cures import BASE
from cvd.vis.charts.themes import LIGHT, NARROW, Theme, choose_colours


def draw_cures(table: pd.DataFrame, *, theme: Theme = LIGHT, tall: bool = False) -> Figure:
    """Draw `cvd.evaluation.lesson.cures.tabulate_cures`: a row for each cure; `tall` sets the panels below each other.

    A dotted line stands at the base. A cure without test figures has those of validation only.
    """
    n, height = len(table), 0.42 * len(table) + 1.1
    figure = theme.create_figure(NARROW if tall else 9.4, (2 * height if tall else height) + 0.5)
    left, right = figure.subplots(2, 1) if tall else figure.subplots(1, 2, sharey=True)
    colours = choose_colours(table["variant"], theme)
    for y, row in enumerate(table.to_dict("records")):
        colour, has_test = colours[row["variant"]], not np.isnan(row["test"])
        if has_test:
            left.plot([row["test_low"], row["test_high"]], [y, y], color=colour, linewidth=2.6)
            left.plot(row["test"], y, "o", markersize=8, color=colour)
        left.plot(row["validation"], y, "D", markersize=5.5, **theme.hollow(colour))
        right.plot([row["gap_low"], row["gap_high"]], [y, y], color=colour, linewidth=2.6)
        right.plot(row["gap"], y, "o", markersize=8, **({"color": colour} if has_test else theme.hollow(colour)))
    base = table[table["variant"] == BASE].iloc[0]
    for axes, at, label in (
        (left, base["test"], "accuracy"),
        (right, base["gap"], "gap: training minus validation"),
    ):
        _dress(axes, at, label, list(table["cure"]), theme)
    if not tall:
        right.tick_params(labelleft=False)
    left.set_xlim(right=min(1.01, left.get_xlim()[1]))
    draw_mark = partial(Line2D, [], [], color=theme.muted)
    handles = [
        draw_mark(marker="o", markersize=8, linewidth=2.6, label="test; gap: with 95% intervals"),
        draw_mark(marker="D", markersize=5.5, linestyle="", **theme.hollow(theme.muted), label="validation"),
        draw_mark(marker="o", markersize=8, linestyle="", **theme.hollow(theme.muted), label="from the history"),
        draw_mark(linestyle=":", linewidth=1.4, label="without a cure"),
    ]
    theme.write_legend(figure, handles, n_columns=2 if tall else 4)
    left.set_ylim(n - 0.5, -0.5)
    right.set_ylim(n - 0.5, -0.5)
    return figure


def _dress(axes: Axes, base: float, label: str, names: list[str], theme: Theme) -> None:
    theme.dress(axes)
    axes.axvline(base, color=theme.muted, linestyle=":", linewidth=1.4, zorder=1)
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=theme.ink, labelsize=9.5)
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
