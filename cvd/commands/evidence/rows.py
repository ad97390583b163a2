"""The rows of `cvd exps`: a variant in an experiment, what was varied, what it gave."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd

from cvd.commands.evidence.pairs import find_obstacle, read_output
from cvd.evaluation.comparison import measure_change
from cvd.evaluation.figures import Metrics
from cvd.runtime.experiments import (
    HEAD,
    WORKSPACE,
    Experiment,
    digest_text,
    list_experiments,
    name_applied,
    read_files,
)
from cvd.runtime.files import read_json
from cvd.runtime.project import ask_git, find_root
from cvd.runtime.revisions.contents import Revision, open_experiments, shorten_commit
from cvd.runtime.revisions.differences import find_differences, gather_params, show_value


@dataclass(frozen=True)
class Row:
    """A variant in an experiment; figures are None where they are not there. `variant` is "" where none changed."""

    baseline: str
    experiment: str
    varied: str
    variant: str = ""
    params: dict[str, Any] = field(default_factory=dict)  # all of the experiment's, by dotted name
    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    test_low: float | None = None
    test_high: float | None = None
    test_loss: float | None = None
    auc: float | None = None
    ece: float | None = None
    gap: float | None = None
    loss_gap: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    parameters: int | None = None
    seconds: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None


_DTYPES = {"float | None": "float64", "int | None": "Int64"}  # of columns that may all be empty


def read_runs(*names: str) -> pd.DataFrame:
    """Read the results of HEAD, the workspace and DVC's experiments as a tidy table, as `cvd exps --csv` prints it.

    Args:
        names: experiments, or patterns such as "rot*"; default: all.

    Returns:
        A row for each variant of a baseline, and for each variant that an experiment changed. The columns are
        `baseline`, `experiment`, `varied` in words and `variant`, then one for each parameter that differs among the
        rows, by its dotted name in params.yaml, then figures: accuracies and gaps are shares 0..1, differences are to
        the baseline.

    Raises:
        InputError: the working folder is in no project.
    """
    root = find_root()
    return tabulate_rows(
        [row for baseline, members in gather_groups(root, names) for row in list_rows(root, baseline, members)]
    )


def tabulate_rows(rows: Sequence[Row]) -> pd.DataFrame:
    """Tabulate rows, with a column for each parameter that has two values or more among them."""
    columns: dict[str, pd.Series] = {}
    for column in fields(Row):
        if column.name == "params":
            columns |= {name: _list_values(name, rows) for name in _find_varied(rows)}
        else:
            values = [getattr(row, column.name) for row in rows]
            columns[column.name] = pd.Series(values, dtype=_DTYPES.get(str(column.type), "object"))
    return pd.DataFrame(columns)


def _find_varied(rows: Sequence[Row]) -> list[str]:
    values: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.params.items():
            values.setdefault(name, set()).add(show_value(value))
    return [name for name, several in values.items() if len(several) > 1]


def _list_values(name: str, rows: Sequence[Row]) -> pd.Series:
    """List a parameter's value in each row: a list as text, null and what an experiment lacks as nothing."""
    values = [row.params.get(name) for row in rows]
    return pd.Series([show_value(value) if isinstance(value, list) else value for value in values])


def gather_groups(root: Path, patterns: Sequence[str]) -> Iterator[tuple[Revision, list[Revision]]]:
    """Gather each baseline with its experiments, newest first; HEAD, which the workspace starts from, comes first."""
    head, applied = ask_git("rev-parse", HEAD, root=root), name_applied(root)
    groups: dict[str, list[Experiment]] = {head: [Experiment(WORKSPACE, "")] if applied == WORKSPACE else []}
    for experiment in list_experiments(root):
        groups.setdefault(experiment.baseline, []).append(experiment)
    for commit, experiments in groups.items():
        chosen = [one for one in experiments if not patterns or any(fnmatch(one.name, name) for name in patterns)]
        if chosen or (commit == head and not patterns):
            name = f"{HEAD} {commit[:7]}".strip() if commit == head else shorten_commit(commit)
            baseline, *members = open_experiments([Experiment(name, commit or HEAD), *chosen], root)
            yield baseline, members


def list_rows(root: Path, baseline: Revision, members: Iterable[Revision]) -> list[Row]:
    """List the rows of a baseline, then of each experiment those of the variants that answer otherwise."""
    revisions = [baseline, *members]
    places = [(revision.ref, f"metrics/{name}.json") for revision in revisions for name in revision.variants]
    texts = read_files(root, places)
    rows = []
    for revision in revisions:
        params = gather_params(revision.stages)
        varied = "" if revision is baseline else _describe_varied(baseline, revision, params)
        names = [name for name in revision.variants if revision is baseline or _is_changed(name, baseline, revision)]
        for name in names:
            path = f"metrics/{name}.json"
            text, figures = texts.get((revision.ref, path)), {}
            if text is not None and digest_text(text) == revision.digests.get(path):  # of the lock's training
                figures = _read_figures(json.loads(text), revision, name)
                if revision is not baseline and name in baseline.variants:
                    figures |= _measure_difference(name, baseline, revision)
            rows.append(Row(baseline.name, revision.name, varied, name, params, **figures))
        if not names and revision.stages and revision is not baseline:
            rows.append(Row(baseline.name, revision.name, varied, params=params))
    return rows


def _describe_varied(baseline: Revision, revision: Revision, params: Mapping[str, Any]) -> str:
    return " ".join(find_differences(baseline.stages, revision.stages, revision.stages).summarise(params))


def _is_changed(variant: str, baseline: Revision, revision: Revision) -> bool:
    path = f"predictions/{variant}.csv"
    return baseline.digests.get(path) != revision.digests.get(path)


def _read_figures(metrics: Metrics, revision: Revision, variant: str) -> dict[str, Any]:
    test, timing = metrics["test"], revision.find_output(f"models/{variant}.timing.json")
    return {
        "train_accuracy": metrics["train"]["accuracy"],
        "validation_accuracy": metrics["validation"]["accuracy"],
        "test_accuracy": test["accuracy"],
        "test_low": test["accuracy_low"],
        "test_high": test["accuracy_high"],
        "test_loss": test["loss"],
        "auc": test["auc"],
        "ece": test["ece"],
        "gap": metrics["overfitting"]["accuracy_gap"],
        "loss_gap": metrics["overfitting"]["loss_gap"],
        "best_epoch": metrics["overfitting"]["best_epoch"],
        "epochs": metrics["training"]["epochs"],
        "parameters": metrics["training"]["parameters"],
        "seconds": read_json(timing)["seconds"] if timing else None,
    }


def _measure_difference(variant: str, baseline: Revision, revision: Revision) -> dict[str, float | None]:
    is_there = all(side.find_output(f"predictions/{variant}.csv") for side in (baseline, revision))
    if not is_there or find_obstacle(baseline, revision, variant):
        return {}
    change = measure_change(read_output(baseline, variant), read_output(revision, variant))
    return {
        "difference": change["difference"],
        "difference_low": change["difference_low"],
        "difference_high": change["difference_high"],
        "p": change["p"],
    }
