"""`cvd exps`: the experiments on one screen: what was varied, what it did, and whether that is luck."""

import argparse
import shutil
import textwrap
from collections.abc import Sequence

from cvd.commands.evidence.formats import render_csv
from cvd.commands.evidence.rows import Row, gather_groups, list_rows, tabulate_rows
from cvd.evaluation.verdict import LEVEL, format_points
from cvd.runtime.errors import InputError
from cvd.runtime.project import find_root

SORTS = {
    "name": "experiment", "validation": "validation_accuracy", "test": "test_accuracy", "gap": "gap",
    "seconds": "seconds", "difference": "difference",
}  # fmt: skip
HEADS = ("experiment", "varied", "variant", "valid.", "test (95%)", "gap", "s", "to baseline (95%)")
N_WORDS = 3  # columns that are words
NOTE = (
    "valid., test in percent, gap and differences in points; *: more than luck with the test images (McNemar's exact\n"
    "test, 5%); unpaired: other test images, or predictions that DVC's cache lacks, as `cvd compare NAME` says"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what may be typed after `cvd exps`."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="experiments, or patterns such as 'rot*'; default: all"
    )
    parser.add_argument("--variant", action="append", help="this variant only; may be repeated")
    parser.add_argument("--sort", choices=SORTS, help="default: newest first; figures: the highest first")
    parser.add_argument("--csv", action="store_true", help="all figures, in full precision")


def print_experiments(args: argparse.Namespace) -> int:
    """Print the workspace, HEAD and DVC's experiments under the commits that they started from.

    Raises:
        InputError: there is nothing to show.
    """
    root = find_root()
    groups = [list_rows(root, baseline, members) for baseline, members in gather_groups(root, args.names)]
    groups = [[row for row in rows if not args.variant or row.variant in args.variant] for rows in groups]
    if args.sort:
        groups = [sort_rows(rows, SORTS[args.sort]) for rows in groups]
    rows = [row for group in groups for row in group]
    if not rows:
        wanted = " ".join([*args.names, *(args.variant or ())])
        advice = "`dvc exp run` makes experiments, `dvc repro` and a commit the first results"
        raise InputError(f"there are no results{f' of {wanted!r}' if wanted else ''}: {advice}")
    if args.csv:
        print(render_csv(tabulate_rows(rows)), end="")
    else:
        print(render_rows(groups, width=shutil.get_terminal_size((100, 24)).columns))
    return 0


def sort_rows(rows: Sequence[Row], key: str) -> list[Row]:
    """Sort rows by a figure, the highest first and what has none last, or by name."""
    if key == "experiment":
        return sorted(rows, key=lambda row: row.experiment)
    return sorted(rows, key=lambda row: (getattr(row, key) is None, -(getattr(row, key) or 0)))


def render_rows(groups: Sequence[Sequence[Row]], *, width: int) -> str:
    """Render groups as a table, which `varied` is wrapped to fit into `width` characters, where that is enough."""
    cells = [[_write_cells(row) for row in group] for group in groups if group]
    columns = zip(HEADS, *(line for group in cells for line in group), strict=True)
    widths = [max(map(len, column)) for column in columns]
    n_spaces = len(HEADS) - 1
    space = 2 if sum(widths) + 2 * n_spaces <= width else 1
    longest = max((len(word) for group in groups for row in group for word in row.varied.split()), default=0)
    widths[1] = max(longest, len(HEADS[1]), widths[1] - max(0, sum(widths) + space * n_spaces - width))
    parts = [_lay_out(HEADS, widths, space)]
    for group in cells:
        shown = ""
        lines = []
        for line in group:
            is_repeated, shown = line[0] == shown, line[0]
            lines.append(_lay_out(("", "", *line[2:]) if is_repeated else line, widths, space))
        parts.append("\n".join(lines))
    return "\n".join(parts[:2]) + "".join(f"\n\n{part}" for part in parts[2:]) + f"\n\n{NOTE}"


def _write_cells(row: Row) -> list[str]:
    shares = ["" if share is None else f"{100 * share:.1f}" for share in (row.validation_accuracy, row.test_accuracy)]
    if row.test_accuracy is not None:
        shares[1] += f" ({100 * (row.test_low or 0):.1f} to {100 * (row.test_high or 0):.1f})"
    gap = "" if row.gap is None else format_points(row.gap)
    seconds = "" if row.seconds is None else f"{row.seconds:,.0f}"
    difference = "" if row.experiment == row.baseline or row.test_accuracy is None else "unpaired "
    if row.difference is not None:
        bounds = f"{format_points(row.difference_low or 0)} to {format_points(row.difference_high or 0)}"
        mark = "*" if row.p is not None and row.p < LEVEL else " "
        difference = f"{format_points(row.difference)} ({bounds}){mark}"
    variant = row.variant or "unchanged"
    return [row.experiment, row.varied, variant, *shares, gap, seconds, difference]


def _lay_out(line: Sequence[str], widths: Sequence[int], space: int) -> str:
    wrapped = textwrap.wrap(line[1], widths[1], break_long_words=False, break_on_hyphens=False) or [""]
    cells = [line[0], wrapped[0], *line[2:]]
    first = (
        cell.ljust(n) if i < N_WORDS else cell.rjust(n) for i, (cell, n) in enumerate(zip(cells, widths, strict=True))
    )
    indent = " " * (widths[0] + space)
    return "\n".join([(" " * space).join(first).rstrip(), *(f"{indent}{rest}" for rest in wrapped[1:])])
