"""The comparison as tables: for programs in full precision, for people as Markdown to paste."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cvd.evaluation.figures import Comparison, Pair, TimingSummary, read_table
from cvd.evaluation.measures import tabulate_test
from cvd.evaluation.overfitting import tabulate_curves
from cvd.evaluation.verdict import (
    describe_knob,
    describe_overfitting,
    describe_stopping,
    find_twins,
    format_p,
    format_percent,
    format_points,
    format_signed,
    list_distinct_pairs,
)
from cvd.runtime.errors import InputError

Cells = list[str]
COUNTS = ("saved_epoch", "onset_epoch")  # may be absent


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV, floats to the last digit."""
    table.to_csv(path, index=False, lineterminator="\n")


def tabulate_charts(
    predictions: Mapping[str, pd.DataFrame], histories: Mapping[str, pd.DataFrame], *, calibration_bins: int
) -> dict[str, pd.DataFrame]:
    """Tabulate `curves`, `roc`, `reliability` and `confusion` in long form, with a first column `variant`."""
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    for name, history in histories.items():
        charts = {"curves": tabulate_curves(history)}
        charts |= tabulate_test(predictions[name], calibration_bins=calibration_bins)
        for kind, table in charts.items():
            tables.setdefault(kind, {})[name] = table
    return {kind: pd.concat(stack, names=["variant"]).reset_index(0) for kind, stack in tables.items()}


def read_charts(path: Path) -> dict[str, pd.DataFrame]:
    """Read a table in long form: each variant's rows, in its order.

    Raises:
        InputError: the file is missing, or is no such table.
    """
    table = read_table(path, "compare", converters={"variant": str})
    if "variant" not in table:
        raise InputError(f"{path} is no table of compare: make it again with `dvc repro -f compare`")
    return {str(name): rows.drop(columns="variant") for name, rows in table.groupby("variant", sort=False)}


def tabulate_comparison(comparison: Comparison) -> pd.DataFrame:
    """A row per variant, best first: the ranking and the over-fitting table, in full precision."""
    ranking, overfitting = pd.DataFrame(comparison["ranking"]), pd.DataFrame(comparison["overfitting"])
    commands = [row["knob"]["command"] if row["knob"] else "" for row in comparison["overfitting"]]
    overfitting["knob"] = commands
    for name in COUNTS:
        overfitting[name] = overfitting[name].astype("Int64")
    return ranking.merge(overfitting.drop(columns=["test_accuracy", "test_loss"]), on="variant")


def tabulate_pairs(comparison: Comparison) -> pd.DataFrame:
    """A row per pair of variants, without the sentence, in full precision."""
    return pd.DataFrame(comparison["pairs"]).drop(columns="sentence", errors="ignore")


def render_markdown(comparison: Comparison, timings: Mapping[str, TimingSummary] | None = None) -> str:
    """Render as Markdown the verdict, and tables of results, over-fitting (with `timings` its cost) and pairs."""
    rows: list[Any] = tabulate_comparison(comparison).to_dict("records")
    parts = ["\n".join(comparison["verdict"]), render_table(*_list_results(rows))]
    parts.append(render_table(*_list_overfitting(rows, timings or {}), n_left=2))
    parts.append("\n".join(f"- {sentence}" for sentence in list_advice(comparison, timings or {})))
    pairs = list_distinct_pairs(comparison["pairs"])
    if pairs:
        parts.append(render_table(*_list_pairs(pairs)))
        parts.append("\n".join(f"- {pair['sentence']}" for pair in pairs))
    return "\n\n".join(parts) + "\n"


def list_advice(comparison: Comparison, timings: Mapping[str, TimingSummary]) -> list[str]:
    """List how each variant is fitted, what early stopping would have given, and what to turn next."""
    twins = find_twins(comparison["pairs"])
    lines = []
    for row in comparison["overfitting"]:
        if row["variant"] not in twins:
            timing = timings.get(row["variant"])
            sentences = [describe_overfitting(row), describe_stopping(row, timing) if timing else None]
            lines.append(" ".join(filter(None, [*sentences, describe_knob(row)])))
    return lines


def render_table(heads: Sequence[str], rows: Sequence[Cells], *, n_left: int = 1) -> str:
    """Render a Markdown table; the first `n_left` columns are words, the others figures, set to the right."""
    lines = [heads, ["---"] * n_left + ["---:"] * (len(heads) - n_left), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _list_results(rows: Sequence[dict[str, Any]]) -> tuple[Cells, list[Cells]]:
    cells = [
        [
            row["variant"],
            f"{format_percent(row['accuracy'])} ({_join_interval(row, 'accuracy', format_percent)})",
            *(f"{row[name]:.3f}" for name in ("loss", "auc", "average_precision", "brier", "ece")),
        ]
        for row in rows
    ]
    return ["variant", "test accuracy (95%)", "loss", "AUC", "average precision", "Brier", "calibration error"], cells


def _list_overfitting(
    rows: Sequence[dict[str, Any]], timings: Mapping[str, TimingSummary]
) -> tuple[Cells, list[Cells]]:
    heads = ["variant", "verdict", "train", "validation", "gap, points", "loss gap", "curves' gap, best epoch to last"]
    heads += ["curves' loss gap, best to last", "area, points", "loss area", "best epoch", "over-fits from"]
    if timings:
        heads += ["training, s", "past best epoch, s", "images/s"]
    cells = [
        [
            row["variant"],
            row["state"],
            *(format_percent(row[f"{split}_accuracy"]) for split in ("train", "validation")),
            format_points(row["accuracy_gap"]),
            format_signed(row["loss_gap"]),
            _render_change(row, "accuracy_gap", format_points),
            _render_change(row, "loss_gap", lambda gap: format_signed(gap, 2)),
            format_signed(100 * row["accuracy_area"], 0),
            format_signed(row["loss_area"], 2),
            f"{row['best_epoch']} of {row['epochs']}",
            "none" if pd.isna(row["onset_epoch"]) else str(row["onset_epoch"]),
            *(_render_cost(timings.get(row["variant"])) if timings else []),
        ]
        for row in rows
    ]
    return heads, cells


def _render_change(row: Mapping[str, Any], name: str, write: Callable[[float], str]) -> str:
    """From the best epoch to the last; empty where one had no number."""
    ends = [row[f"{name}_{at}"] for at in ("best", "last")]
    return "" if any(pd.isna(end) for end in ends) else " to ".join(map(write, ends))


def _render_cost(timing: TimingSummary | None) -> Cells:
    if timing is None:
        return ["", "", ""]
    figures = (timing["seconds"], timing["seconds_after_best"], timing["images_per_second"])
    return [f"{figure:,.0f}" for figure in figures]


def _list_pairs(pairs: Sequence[Pair]) -> tuple[Cells, list[Cells]]:
    heads = ["second minus first", "difference, points (95%)", "only first right", "only second right"]
    cells = [
        [
            f"{pair['second']} \N{MINUS SIGN} {pair['first']}",
            f"{format_points(pair['difference'])} ({_join_interval(pair, 'difference', format_points)})",
            f"{pair['only_first_right']:,}",
            f"{pair['only_second_right']:,}",
            format_percent(pair["agreement"]),
            format_p(pair["p_holm"]).removeprefix("p ").removeprefix("= "),
        ]
        for pair in pairs
    ]
    return [*heads, "agreement", "p (McNemar, Holm)"], cells


def _join_interval(row: Mapping[str, Any], name: str, write: Any) -> str:
    return f"{write(row[f'{name}_low'])} to {write(row[f'{name}_high'])}"
