"""Draw a search: error against size, the U of under- and over-fitting, and all networks by validation accuracy."""

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from cvd.vis.charts.curves import DASHES
from cvd.vis.charts.themes import LIGHT, Theme, choose_colours

MOST_ROWS = 40  # networks that are drawn one by one: the best
MOST_LINES = 6  # lines with names; of more, all are grey


def draw_search(table: pd.DataFrame, *, theme: Theme = LIGHT) -> Figure:
    """Draw the table of `tabulate_trials`, failed trials left out; the winner, its first row, is ringed.

    The upper panel needs networks of at least two sizes.
    """
    rows = table[table["fault"] == ""]
    sizes = sorted(rows["parameters"].unique())
    n_shown = min(len(rows), MOST_ROWS)
    heights = [3.4] * (len(sizes) > 1) + [0.32 * n_shown + 0.7]
    figure = theme.create_figure(8.6, sum(heights) + 0.7)
    if not n_shown:
        return figure
    panels = list(figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0])
    if len(sizes) > 1:
        _draw_sizes(panels[0], rows, theme)
    _draw_ranking(panels[-1], rows.head(n_shown), theme)
    draw_line = partial(Line2D, [], [], color=theme.muted)
    handles = [
        draw_line(linewidth=2, marker="o", markersize=6, label="validation, 95% interval"),
        draw_line(
            linewidth=1.4, linestyle=DASHES, marker="D", markersize=5, **theme.hollow(theme.muted), label="training"
        ),
        draw_line(
            linestyle="", marker="o", markersize=13, markerfacecolor="none", markeredgecolor=theme.ink, label="winner"
        ),
    ]
    theme.write_legend(figure, handles, n_columns=3)
    return figure


def _draw_sizes(axes: Axes, rows: pd.DataFrame, theme: Theme) -> None:
    """Draw error against the number of parameters, a line for each combination of what does not change the size."""
    theme.dress(axes)
    sizes = sorted(rows["parameters"].unique())
    groups = {name: group.sort_values("parameters") for name, group in rows.groupby(name_others(rows), sort=False)}
    colours = choose_colours([f"group {name}" for name in groups], theme)
    has_names = len(groups) <= MOST_LINES
    for name, group in groups.items():
        _draw_line(axes, group, str(name), colours[f"group {name}"] if has_names else theme.muted, theme)
    winner = rows.iloc[0]
    axes.plot(
        winner["parameters"],
        1 - winner["validation"],
        "o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor=theme.ink,
    )
    axes.set_xscale("log")
    axes.set_xlim(0.8 * sizes[0], 1.25 * sizes[-1])
    axes.set_ylim(bottom=-0.01)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="parameters", ylabel="wrong answers")
    if has_names and len(groups) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=theme.ink, loc="lower left")
    theme.write_title(axes, "Error against size", "on the left too small to learn, on the right memorised", theme.ink)


def _draw_line(axes: Axes, group: pd.DataFrame, name: str, colour: str, theme: Theme) -> None:
    x = group["parameters"]
    look: dict[str, Any] = {"color": colour, "markerfacecolor": theme.paper}
    axes.plot(x, 1 - group["validation"], color=colour, linewidth=2, marker="o", markersize=6, label=name)
    low, high = 1 - group["validation_high"], 1 - group["validation_low"]
    axes.vlines(x, low, high, color=colour, alpha=0.45, linewidth=1.4)
    axes.plot(x, 1 - group["train"], linewidth=1.4, linestyle=DASHES, marker="D", markersize=4, **look)


def name_others(rows: pd.DataFrame) -> "pd.Series[str]":
    """Name, for each row, its settings but for those that change the number of parameters.

    A setting changes it where networks that differ in it alone have different sizes.
    """
    settings = [dict(pair.partition("=")[::2] for pair in label.split() if "=" in pair) for label in rows["label"]]
    keys = list(dict.fromkeys(key for one in settings for key in one))
    size_of = {
        tuple(one.get(key) for key in keys): size for one, size in zip(settings, rows["parameters"], strict=True)
    }
    sizing = set()
    for place, key in enumerate(keys):
        by_rest: dict[tuple[str | None, ...], set[int]] = {}
        for values, size in size_of.items():
            by_rest.setdefault(values[:place] + values[place + 1 :], set()).add(size)
        if any(len(group) > 1 for group in by_rest.values()):
            sizing.add(key)
    names = [" ".join(f"{key}={value}" for key, value in one.items() if key not in sizing) or "all" for one in settings]
    return pd.Series(names, index=rows.index)


def _draw_ranking(axes: Axes, rows: pd.DataFrame, theme: Theme) -> None:
    theme.dress(axes)
    for y, row in enumerate(rows.to_dict("records")):
        axes.plot([row["validation_low"], row["validation_high"]], [y, y], color=theme.muted, linewidth=1.6)
        axes.plot(row["train"], y, "D", markersize=5, **theme.hollow(theme.muted))
        axes.plot(row["validation"], y, "o", markersize=6, color=theme.ink)
    axes.plot(rows.iloc[0]["validation"], 0, "o", markersize=13, markerfacecolor="none", markeredgecolor=theme.ink)
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(rows)), list(rows["label"]))
    axes.tick_params(axis="y", labelcolor=theme.ink, labelsize=9)
    axes.set(ylim=(len(rows) - 0.5, -0.7), xlabel="accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    theme.write_title(axes, "All networks", "by validation accuracy, which chooses the winner", theme.ink)
