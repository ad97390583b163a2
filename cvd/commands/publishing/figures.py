"""`cvd figures`: the report's charts as vector graphics, drawn again from the files of evaluate and compare."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from cvd.report.illustrations import list_charts
from cvd.report.results import Results, read_results
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.project import find_root
from cvd.vis.charts.curves import draw_curves
from cvd.vis.charts.diagnostics import draw_variant

# PDF embeds its fonts as TrueType; SVG cannot, and has outlines. The same figure gives the same bytes.
STYLE: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "cvd"}
DATES = {"pdf": "CreationDate", "svg": "Date"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd figures`."""
    parser.add_argument("--format", choices=sorted(DATES), default="pdf", help="format of the files (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the figures (%(default)s)")


def draw_figures(args: argparse.Namespace) -> int:
    """Draw each chart of the report, and a sheet of each variant with its confusion matrix, into a file of its own.

    Raises:
        InputError: there are no results, a file of them is damaged, or `--out` is a file or below one.
    """
    if file := next((path for path in (args.out, *args.out.parents) if path.is_file()), None):
        raise InputError(f"--out is {args.out}, but {file} is a file: give a folder")
    root = find_root()
    makers = list_figures(read_results(root / "metrics", root / "plots", root / "data/quarantine.csv"))
    args.out.mkdir(parents=True, exist_ok=True)
    for name, make in makers.items():
        path = args.out / f"{name}.{args.format}"
        write_figure(make(), path, args.format)
        print(path)
    return 0


def list_figures(results: Results) -> dict[str, Callable[[], Figure]]:
    """List what draws each figure, by the name of its file."""
    sheets = {}
    for name, metrics in results.metrics.items():
        tables = {"roc": results.roc[name], "reliability": results.reliability[name]}
        sheets[f"sheet-{name}"] = partial(draw_variant, name, metrics, curves=results.curves[name], tables=tables)
    return {"curves": partial(draw_curves, results.curves), **list_charts(results), **sheets}


def write_figure(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as vector graphics, `kind` of DATES, without a date."""
    _draw_cells(figure)
    with rc_context(STYLE), replace_file(path) as unfinished:
        figure.savefig(unfinished, format=kind, metadata={DATES[kind]: None})


def _draw_cells(figure: Figure) -> None:
    """Put a rectangle for each pixel in place of images: viewers smooth an image of a few pixels."""
    for axes in figure.axes:
        for image in list[Any](axes.images):
            values = image.get_array()
            left, right, bottom, top = image.get_extent()
            n_rows, n_columns = values.shape
            x, y = np.linspace(left, right, n_columns + 1), np.linspace(top, bottom, n_rows + 1)
            axes.pcolormesh(x, y, values, cmap=image.cmap, norm=image.norm, zorder=image.zorder)
            image.remove()
