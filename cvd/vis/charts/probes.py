"""Draw probes: accuracy against each change, a line with its interval for each network."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from cvd.evaluation.lesson.probes import TITLES
from cvd.vis.charts.themes import LIGHT, Theme, choose_colours

N_ACROSS = 3


def draw_probes(table: pd.DataFrame, *, theme: Theme = LIGHT) -> Figure:
    """Draw `cvd.evaluation.lesson.probes` COLUMNS: a panel for each probe, shaded 95% intervals, guessing dotted."""
    probes = list(dict.fromkeys(table["probe"]))
    names = list(dict.fromkeys(table["variant"]))
    colours = choose_colours(names, theme)
    n_rows = -(-len(probes) // N_ACROSS)
    figure, grid = theme.create_grid(len(probes), min(N_ACROSS, len(probes)), width=10.5, height=3.3 * n_rows + 0.6)
    for axes, probe in zip(grid, probes, strict=True):
        rows = table[table["probe"] == probe]
        theme.dress(axes)
        axes.axhline(0.5, color=theme.muted, linestyle=":", linewidth=1.2)
        for place, name in enumerate(names):
            of_network = rows[rows["variant"] == name]
            if probe == "background":
                _draw_points(axes, of_network, colours[name], shift=0.13 * place)
            else:
                _draw_line(axes, of_network, colours[name], theme)
        axes.set(ylim=(min(0.4, table["low"].min() - 0.02), 1.02), xlabel=TITLES[probe])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid[0].set_ylabel("test accuracy")
    handles = [
        Line2D([], [], color=colours[name], linewidth=2.2, marker="o", markersize=5, label=name) for name in names
    ]
    handles.append(Line2D([], [], color=theme.muted, linestyle=":", linewidth=1.2, label="guessing"))
    theme.write_legend(figure, handles, n_columns=6)
    return figure


def _draw_line(axes: Axes, rows: pd.DataFrame, colour: str, theme: Theme) -> None:
    x = rows["level"].astype(float)
    axes.fill_between(x, rows["low"], rows["high"], color=colour, alpha=theme.fill, linewidth=0)
    axes.plot(x, rows["accuracy"], color=colour, linewidth=2, marker="o", markersize=4.5)


def _draw_points(axes: Axes, rows: pd.DataFrame, colour: str, *, shift: float) -> None:
    """Draw a network's points and intervals above the names of the levels, a little to the right of the others."""
    places = [level + shift for level in range(len(rows))]
    axes.vlines(places, rows["low"], rows["high"], color=colour, linewidth=2)
    axes.plot(places, rows["accuracy"], linestyle="", marker="o", markersize=5, color=colour)
    axes.set_xticks(range(len(rows)), [str(level).replace(" ", "\n") for level in rows["level"]])
