"""Draw a row for each pair or variant: differences, and over-fitting."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cvd.evaluation.figures import OverfittingRow, Pair
from cvd.evaluation.verdict import LEVEL, format_points, list_distinct_pairs
from cvd.vis.charts.themes import LIGHT, NARROW, Theme, choose_colours

_NOTE: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 9}


def draw_differences(pairs: Sequence[Pair], *, theme: Theme = LIGHT, tall: bool = False) -> Figure:
    """Draw a forest plot: of each pair the difference in test accuracy with its 95% interval, filled where it is clear.

    At least one pair is needed; pairs of a network's twin are left out.
    """
    pairs = list_distinct_pairs(pairs)
    colours = choose_colours(dict.fromkeys(name for pair in pairs for name in (pair["first"], pair["second"])), theme)
    figure = theme.create_figure(NARROW if tall else 8.6, 0.6 * len(pairs) + 1.3)
    axes = figure.subplots()
    theme.dress(axes)
    axes.axvline(0, color=theme.muted, linewidth=1.2)
    labels = [_draw_pair(axes, y, pair, colours, theme) for y, pair in enumerate(pairs)]
    axes.set(ylim=(len(pairs) - 0.4, -0.75), xlabel="points of test accuracy")
    _name_rows(axes, labels, theme)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -1.0), max(high, 1.0))
    draw_mark = partial(Line2D, [], [], color=theme.muted, marker="o", markersize=8, linewidth=2.6)
    handles = [
        draw_mark(label="more than luck, with 95% interval"),
        draw_mark(markerfacecolor=theme.paper, label="not told apart"),
    ]
    theme.write_legend(figure, handles, n_columns=1 if tall else 2)
    return figure


def _draw_pair(axes: Axes, y: int, pair: Pair, colours: dict[str, str], theme: Theme) -> str:
    """Draw one row, from the worse to the better variant, and return its label."""
    sign = -1 if pair["difference"] < 0 else 1
    better, worse = (pair["second"], pair["first"]) if sign > 0 else (pair["first"], pair["second"])
    interval = sorted((100 * sign * pair["difference_low"], 100 * sign * pair["difference_high"]))
    middle, is_clear = abs(100 * pair["difference"]), pair["p_holm"] < LEVEL
    colour = colours[better] if is_clear else theme.muted
    filling = colour if is_clear else theme.paper
    axes.plot(interval, [y, y], color=colour, linewidth=2.6, solid_capstyle="round")
    axes.plot(middle, y, "o", markersize=9, color=colour, markerfacecolor=filling, markeredgewidth=2)
    note = format_points(abs(pair["difference"]))
    axes.text(middle, y - 0.22, note, color=theme.ink, bbox=theme.hide_lines(), **_NOTE)
    return f"{better} over {worse}" if pair["difference"] else f"{pair['first']} and {pair['second']}"


def _name_rows(axes: Axes, labels: Sequence[str], theme: Theme) -> None:
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", labelcolor=theme.ink, labelsize=9.5)


def draw_overfitting(rows: Sequence[OverfittingRow], *, theme: Theme = LIGHT, tall: bool = False) -> Figure:
    """Draw the accuracy of each saved network on clean training, validation and test images, the gap as a bar."""
    colours = choose_colours([row["variant"] for row in rows], theme)
    figure = theme.create_figure(NARROW if tall else 8.6, 0.6 * len(rows) + (1.5 if tall else 1.3))
    axes = figure.subplots()
    theme.dress(axes)
    for y, row in enumerate(rows):
        _draw_gap(axes, y, row, colours[row["variant"]], theme)
    axes.set(ylim=(len(rows) - 0.5, -0.75), xlabel="accuracy on clean images")
    _name_rows(axes, [row["variant"] for row in rows], theme)
    low, high = axes.get_xlim()
    axes.set_xlim(low - 0.03, high + 0.03)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    draw_mark = partial(Line2D, [], [], linestyle="")
    handles = [
        draw_mark(marker="D", markersize=7, **theme.hollow(theme.muted), label="training"),
        draw_mark(color=theme.muted, marker="o", markersize=9, label="validation"),
        draw_mark(color=theme.ink, marker="|", markersize=12, markeredgewidth=2.2, label="test"),
        Patch(color=theme.muted, alpha=2 * theme.fill, linewidth=0, label="gap"),
    ]
    theme.write_legend(figure, handles, n_columns=2 if tall else 4)
    return figure


def _draw_gap(axes: Axes, y: int, row: OverfittingRow, colour: str, theme: Theme) -> None:
    train, validation, test = row["train_accuracy"], row["validation_accuracy"], row["test_accuracy"]
    axes.plot([validation, train], [y, y], color=colour, alpha=2 * theme.fill, linewidth=9, solid_capstyle="butt")
    axes.plot(train, y, "D", markersize=7, **theme.hollow(colour))
    axes.plot(validation, y, "o", markersize=9, color=colour)
    axes.plot(test, y, "|", markersize=16, color=theme.ink, markeredgewidth=2.2)
    gap = f"gap {format_points(row['accuracy_gap'], sign=False)} points"
    axes.text((train + validation) / 2, y - 0.25, gap, color=theme.ink, **_NOTE)
