"""Draw the learning curves of all variants side by side: tables in, figures out."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cvd.evaluation.overfitting import find_best_epoch
from cvd.evaluation.verdict import format_points
from cvd.vis.charts.themes import LIGHT, NARROW, Theme, choose_colours

DASHES = (0, (3, 1.5))  # of training curves
LONGER = 2.5  # times the epochs of the shortest, up to which all share an axis of epochs
N_ACROSS = 4  # variants side by side before a new row begins


def draw_curves(curves: dict[str, pd.DataFrame], *, theme: Theme = LIGHT, tall: bool = False) -> Figure:
    """Draw training and validation accuracy and loss of each variant in small multiples, the gap shaded.

    All share their axes; where one variant was trained far longer than another, each has its own axis of epochs.
    `curves` are as of `cvd.evaluation.overfitting.tabulate_curves`; `tall` gives each a row instead of a column.
    """
    colours = choose_colours(curves, theme)
    n = len(curves)
    n_across = min(n, N_ACROSS)
    n_blocks = -(-n // n_across)
    shape = (n, 2) if tall else (2 * n_blocks, n_across)
    size = (NARROW, 1.9 * n + 0.9) if tall else (max(2.7 * n_across, 4.4), 5.2 * n_blocks + 0.5)
    figure = theme.create_figure(*size)
    grid = figure.subplots(*shape, squeeze=False)
    limits = _find_limits(list(curves.values()))
    lengths = [len(frame) for frame in curves.values()]
    is_alike = max(lengths) <= LONGER * min(lengths)
    used = []
    for i, (name, frame) in enumerate(curves.items()):
        row, column = 2 * (i // n_across), i % n_across
        pair = (grid[i, 0], grid[i, 1]) if tall else (grid[row, column], grid[row + 1, column])
        for axes, what in zip(pair, ("accuracy", "loss"), strict=True):
            draw_panel(axes, frame, what, colour=colours[name], theme=theme)
            axes.set(xlim=limits["epoch"] if is_alike else (0.0, len(frame) + 1.0), ylim=limits[what])
            if tall or column == 0:
                axes.set_ylabel(what)
            else:
                axes.tick_params(labelleft=False)
            used.append(axes)
        theme.write_title(pair[0], name, f"{len(frame)} epochs", colours[name])
        if not tall or i == n - 1:
            for axes in pair if tall else pair[1:]:
                axes.set_xlabel("epoch")
    for axes in set(grid.flat) - set(used):
        axes.set_visible(False)
    theme.write_legend(figure, _list_handles(theme), n_columns=4 if size[0] > 6.6 else 2)
    return figure


def _find_limits(frames: Sequence[pd.DataFrame]) -> dict[str, tuple[float, float]]:
    """Common axes: all epochs, all accuracies, all losses, with room above them for a line of text."""
    accuracies = np.concatenate([frame[["accuracy", "val_accuracy"]].to_numpy().ravel() for frame in frames])
    losses = np.concatenate([frame[["loss", "val_loss"]].to_numpy().ravel() for frame in frames])
    losses = losses[np.isfinite(losses)]
    # One bad epoch must not flatten all the rest.
    highest = min(float(losses.max()), 3 * float(np.quantile(losses, 0.95))) if len(losses) else 1.0
    lowest = float(np.nanmin(accuracies))
    return {
        "epoch": (0.0, max(len(frame) for frame in frames) + 1.0),
        "accuracy": (lowest - 0.18 * (1.02 - lowest), 1 + min(0.02, 0.06 * (1.02 - lowest))),
        "loss": (0.0, 1.2 * highest),
    }


def draw_panel(axes: Axes, frame: pd.DataFrame, what: str, *, colour: str, theme: Theme) -> None:
    """Draw accuracy or loss: training dashed, validation solid, the gap shaded, a ring at the best epoch."""
    theme.dress(axes)
    limits = _find_limits([frame])
    axes.set(xlim=limits["epoch"], ylim=limits[what])
    epochs, train, validation = frame["epoch"], frame[what], frame[f"val_{what}"]
    axes.fill_between(epochs, train, validation, color=colour, alpha=theme.fill, linewidth=0)
    axes.plot(epochs, train, color=colour, linewidth=1.6, linestyle=DASHES)
    axes.plot(epochs, validation, color=colour, linewidth=2.0)
    best_epoch = find_best_epoch(frame["val_loss"])
    axes.plot(best_epoch, validation.iloc[best_epoch - 1], "o", markersize=8, **theme.hollow(colour))
    gap = float(frame[f"{what}_gap"].iloc[-1])
    if what == "accuracy":
        text, y, side = f"gap {format_points(gap, sign=False)} points", 0.05, "bottom"
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    else:  # + 0.0: no minus before nothing
        text, y, side = f"gap {round(gap, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}"), 0.95, "top"
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": side}
    axes.text(0.97, y, text, **place, fontsize=9, color=theme.ink, bbox=theme.hide_lines())
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _list_handles(theme: Theme) -> list[Any]:
    draw_line = partial(Line2D, [], [], color=theme.muted)
    return [
        draw_line(linewidth=1.6, linestyle=DASHES, label="training"),
        draw_line(linewidth=2.0, label="validation"),
        Patch(color=theme.muted, alpha=theme.fill + 0.1, linewidth=0, label="gap"),
        draw_line(marker="o", markersize=8, **theme.hollow(theme.muted), linestyle="", label="lowest validation loss"),
    ]
