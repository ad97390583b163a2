"""Draw learning curves against data size."""

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from cvd.evaluation.verdict import format_points
from cvd.vis.charts.curves import DASHES, N_ACROSS
from cvd.vis.charts.themes import LIGHT, NARROW, Theme, choose_colours


def draw_sizes(table: pd.DataFrame, *, theme: Theme = LIGHT, tall: bool = False) -> Figure:
    """Draw the accuracy of each variant's saved network against the number of training images, the gap shaded.

    `table` is as of `cvd.evaluation.lesson.sizes.tabulate_sizes`; `tall` sets variants one below the other.
    """
    names = list(dict.fromkeys(table["variant"]))
    colours = choose_colours(names, theme)
    n_across = 1 if tall else min(len(names), N_ACROSS)
    width = NARROW if tall else max(2.9 * n_across, 4.4)
    height = 3.1 * -(-len(names) // n_across) + 0.7
    figure, grid = theme.create_grid(len(names), n_across, width=width, height=height)
    lowest = float(table[["train", "validation", "test_low"]].to_numpy().min())
    for i, (axes, name) in enumerate(zip(grid, names, strict=True)):
        rows = table[table["variant"] == name]
        _draw_sizes(axes, rows, colours[name], theme)
        axes.set_ylim(lowest - 0.04, 1 + 0.04 * (1.04 - lowest))
        axes.set_xlim(0.82 * table["n_images"].min(), 1.22 * table["n_images"].max())
        gaps = " to ".join(dict.fromkeys(format_points(rows["gap"].iloc[at], sign=False) for at in (0, -1)))
        theme.write_title(axes, name, f"gap {gaps} points", colours[name])
        axes.tick_params(labelleft=tall or i % n_across == 0)
        axes.set_xlabel("training images")
    draw_line = partial(Line2D, [], [])
    handles = [
        draw_line(color=theme.muted, linewidth=1.6, linestyle=DASHES, label="training"),
        draw_line(color=theme.muted, linewidth=2.0, marker="o", markersize=5, label="validation"),
        draw_line(color=theme.ink, marker="|", markersize=9, linestyle="", label="test, 95% interval"),
        Patch(color=theme.muted, alpha=theme.fill + 0.1, linewidth=0, label="gap"),
    ]
    theme.write_legend(figure, handles, n_columns=4 if width > 5.5 else 2)
    return figure


def _draw_sizes(axes: Axes, rows: pd.DataFrame, colour: str, theme: Theme) -> None:
    theme.dress(axes)
    sizes = rows["n_images"]
    axes.set_xscale("log", base=2)
    axes.fill_between(sizes, rows["validation"], rows["train"], color=colour, alpha=theme.fill, linewidth=0)
    axes.plot(sizes, rows["train"], color=colour, linewidth=1.6, linestyle=DASHES)
    axes.plot(sizes, rows["validation"], color=colour, linewidth=2.0, marker="o", markersize=5)
    axes.vlines(sizes, rows["test_low"], rows["test_high"], color=theme.ink, linewidth=1.4)
    axes.plot(sizes, rows["test"], linestyle="", marker="_", markersize=9, markeredgewidth=2, color=theme.ink)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
