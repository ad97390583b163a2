"""The ladder of cures: what each does, alone, to the network that over-fits. No TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cvd.evaluation.comparison import align_test_images, measure_change
from cvd.evaluation.figures import Metrics
from cvd.evaluation.measures import is_right
from cvd.evaluation.statistics import newcombe_interval, wilson_interval
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import format_percent, format_points, judge_change

BASE, STOPPED = "baseline", "stopped"
# The ladder, from what cannot help to what helps most: the rung, what it is called, and its lesson.
RUNGS = {
    "too_small": ("a network too small", "It cannot learn even its training images, so its small gap is no merit. "
                  "That is under-fitting, where the ladder begins."),
    "baseline_half": ("half of the images", "The fewer the images, the sooner they are memorised. "
                      "Read from here to the base: twice the images are a cure."),
    BASE: ("no cure", "The start of all the others: enough parameters to memorise every training image."),
    STOPPED: ("stop early", "The epoch of the lowest validation loss, read from the same history: no training. "
              "It saves time and confidence, and seldom accuracy."),
    "small": ("a smaller network", "Fewer parameters can remember less. Too few cannot learn either."),
    "l2": ("an L2 penalty", "Large weights have a price, so the network prefers smooth answers."),
    "dropout_only": ("dropout", "Half of the features vanish at random in each step, so none can be relied on alone."),
    "augmented_only": ("augmentation", "The network hardly ever sees the same pixels twice, "
                       "so memorising them is of no use."),
    "augmented": ("augmentation and dropout", "Both together; they act at different places."),
    "transfer": ("a pretrained network", "Its features were learnt on a million other photos. "
                 "Only one unit learns from these, so there is little room to over-fit."),
}  # fmt: skip
COLUMNS = (
    *("variant", "cure", "change", "state", "train", "validation", "test", "test_low", "test_high", "gap", "gap_low"),
    *("gap_high", "difference", "difference_low", "difference_high", "evidence"),
)


def tabulate_cures(
    blocks: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Metrics], predictions: Mapping[str, pd.DataFrame]
) -> pd.DataFrame | None:
    """Tabulate the rungs that were trained, in the order of RUNGS, with COLUMNS; None without the base or a cure.

    Accuracies are of the saved networks on clean images. Intervals, 95%: of test accuracies Wilson's, of gaps
    Newcombe's, of the difference to the base Tango's, on the same test images. The rung STOPPED is of the base's
    history at its best epoch: without test figures, with those of the epoch as training saw it.
    """
    names = [name for name in RUNGS if name in metrics]
    if BASE not in names or len(names) < 2:
        return None
    tests = align_test_images({name: predictions[name] for name in names})
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        right = {split: is_right(frame) for split, frame in predictions[name].groupby("split")}
        low, high = wilson_interval(right["test"].sum(), len(right["test"]))
        change = measure_change(predictions[BASE], predictions[name])
        rows[name] = {
            **_measure_gap(*((int(right[split].sum()), len(right[split])) for split in ("train", "validation"))),
            "variant": name,
            "change": describe_block(blocks[BASE], blocks[name]) if name != BASE else "",
            "state": metrics[name]["overfitting"]["state"],
            "test": float(is_right(tests[name]).mean()),
            "test_low": float(low),
            "test_high": float(high),
        }
        if name != BASE:
            bounds = {f"difference{end}": change[f"difference{end}"] for end in ("", "_low", "_high")}  # type: ignore[literal-required]
            rows[name] |= bounds | {"evidence": judge_change(change)}
    if stopped := _stop_early(metrics[BASE]):
        rows[STOPPED] = stopped
    table = pd.DataFrame([{"cure": RUNGS[name][0], **rows[name]} for name in RUNGS if name in rows])
    return table.reindex(columns=list(COLUMNS))


def _measure_gap(train: tuple[int, int], validation: tuple[int, int]) -> dict[str, float]:
    """Measure both accuracies, from (right, all), and the gap with Newcombe's interval."""
    low, high = newcombe_interval(*train, *validation)
    shares = train[0] / train[1], validation[0] / validation[1]
    return {"train": shares[0], "validation": shares[1], "gap": shares[0] - shares[1], "gap_low": low, "gap_high": high}


def _stop_early(base: Metrics) -> dict[str, Any] | None:
    """What early stopping gives, by the base's history; None where its last epoch was not kept, or was the best."""
    overfitting, last = base["overfitting"], base["training"]["epochs"]
    best = next((gap for gap in overfitting["curve_gaps"] if gap["at"] == "best"), None)
    if best is None or best["epoch"] == last or base["training"]["details"][0].get("saved_epoch") != last:
        return None
    n_train, n_validation = (base[split]["details"][0]["n_images"] for split in ("train", "validation"))
    validation = round(best["validation_accuracy"] * n_validation)
    train = round((best["validation_accuracy"] + best["accuracy_gap"]) * n_train)
    figures = _measure_gap((train, n_train), (validation, n_validation))
    return {**figures, "variant": STOPPED, "change": f"epoch {best['epoch']} of {last}", "state": "", "test": np.nan}


def describe_block(base: Mapping[str, Any], block: Mapping[str, Any]) -> str:
    """Describe in which values a block differs from the base's, as `dropout 0 to 0.5`; another network by its name."""
    if block["network"] != base["network"]:
        return f"network {block['network']}"
    changes = [(key, base.get(key), value) for key, value in block.items() if base.get(key) != value]
    return ", ".join(f"{key.replace('_', ' ')} {_show(old)} to {_show(new)}" for key, old, new in changes)


def _show(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else f"{value}"


def describe_cures(table: pd.DataFrame) -> list[str]:
    """One paragraph for each rung: what it teaches, and what it did."""
    base = table[table["variant"] == BASE].iloc[0]
    return [_describe_rung(row, base) for row in table.to_dict("records")]


def _describe_rung(row: Mapping[Any, Any], base: "pd.Series[Any]") -> str:
    title, lesson = RUNGS[row["variant"]]
    name = BASE if row["variant"] == STOPPED else row["variant"]
    head = f"{title[0].upper()}{title[1:]} ({name}{', ' if row['change'] else ''}{row['change']}). {lesson}"
    gap = f"{format_points(row['gap'], sign=False)} points"
    if row["variant"] == BASE:
        return f"{head} Test accuracy {format_percent(row['test'])}, gap {gap}: {row['state']}."
    gaps = f"the gap from {format_points(base['gap'], sign=False)} to {gap}"
    if row["variant"] == STOPPED:
        ends = [format_percent(side["validation"]) for side in (base, row)]
        return (
            f"{head} It takes validation accuracy from {ends[0]} to {ends[1]}, and {gaps}, in that epoch's own figures."
        )
    ends = [format_percent(side["test"]) for side in (base, row)]
    low, high = (format_points(row[f"difference{end}"]) for end in ("_low", "_high"))
    change = f"by {format_points(row['difference'])} points (95% {low} to {high}: {row['evidence']})"
    return f"{head} It takes test accuracy from {ends[0]} to {ends[1]}, {change}, and {gaps}: {row['state']}."


def render_cures(table: pd.DataFrame) -> str:
    """Render the table and its paragraphs as Markdown."""
    heads = ["cure", "what differs", "verdict", "train", "validation", "gap, points (95%)", "test (95%)"]
    heads.append("to the base, points (95%)")
    rows = []
    for row in table.to_dict("records"):
        cells = [row["cure"], row["change"], row["state"]]
        cells += [format_percent(row[split]) for split in ("train", "validation")]
        cells.append(_join(row, "gap", format_points))
        cells.append("" if np.isnan(row["test"]) else _join(row, "test", format_percent))
        cells.append("" if np.isnan(row["difference"]) else _join(row, "difference", format_points))
        rows.append(cells)
    paragraphs = "\n".join(f"- {text}" for text in describe_cures(table))
    return f"{render_table(heads, rows, n_left=3)}\n\n{paragraphs}\n"


def _join(row: Mapping[Any, Any], name: str, write: Any) -> str:
    return f"{write(row[name])} ({write(row[f'{name}_low'])} to {write(row[f'{name}_high'])})"
