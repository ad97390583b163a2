"""Runs as a table for people, and the address where MLflow's UI shows the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvd.runtime.dvc_files import list_experiments, read_lock
from cvd.tracking.gate import GATE
from cvd.tracking.model import MODEL_MD5
from cvd.tracking.runs import GROUPS, find_runs, join_group, mark_dead_runs
from cvd.tracking.store import Store
from cvd.tracking.view import KEY, describe_view, name_view

if TYPE_CHECKING:
    from mlflow.entities import Run

HEADINGS = ("run", "what", "test", "gap", "status", "run id")


@dataclass(frozen=True)
class Listing:
    """Rows under HEADINGS, newest first; the experiments that there are; the UI's page, without its server."""

    rows: list[tuple[str, ...]]
    experiments: list[str]
    page: str

    def format_table(self) -> str:
        """Columns of even width."""
        widths = [max(map(len, column)) for column in zip(HEADINGS, *self.rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (HEADINGS, *self.rows)]
        return "\n".join(lines)


def list_runs(experiment: str | None = None) -> Listing | None:
    """The runs of a DVC experiment, those of variants that it left untouched included, or all.

    Returns:
        None when MLflow could not be used (one warning line said so).
    """
    return GATE.attempt(lambda store: _list_runs(store, experiment), patient=True)


def _list_runs(store: Store, experiment: str | None) -> Listing:
    mark_dead_runs(store)
    runs = find_runs(store, {})
    known = {run.data.tags.get("dvc.exp_name", "") for run in runs} | {each.name for each in list_experiments()}
    if experiment is not None:
        runs = _choose(runs, experiment)
        for run in runs:
            join_group(store, run, experiment)
    page = find_page(store, experiment if runs else None)
    return Listing([_describe(run, experiment) for run in runs], sorted(known - {""}), page)


def _choose(runs: "Sequence[Run]", experiment: str) -> "list[Run]":
    """By tags, and by the models that the experiment's dvc.lock names: DVC may have restored it, running no code."""
    members = [run for run in runs if experiment in run.data.tags.get(GROUPS, "").split()]
    has = {run.data.tags.get("variant") for run in members}
    ref = next((each.ref for each in list_experiments() if each.name == experiment), None)
    for variant, model in (read_lock(ref) if ref else {}).items():
        same = [run for run in runs if run.data.tags.get("variant") == variant]
        same = [run for run in same if run.data.tags.get(MODEL_MD5) == model.md5]
        members += same[:1] if variant not in has else []
    return members


def _describe(run: "Run", experiment: str | None) -> tuple[str, ...]:
    tags, metrics = run.data.tags, run.data.metrics
    what = {"training": "trained", "evaluation": "evaluated"}.get(tags.get("kind", ""), "")
    if experiment not in (None, tags.get("dvc.exp_name")):
        what = "reused"
    test, gap = metrics.get("test/accuracy"), metrics.get("overfitting/accuracy_gap")
    figures = ("" if test is None else f"{test:.4f}", "" if gap is None else f"{gap:+.4f}")
    return (str(run.info.run_name), what, *figures, str(run.info.status), str(run.info.run_id))


def find_page(store: Store, experiment: str | None = None) -> str:
    """The path of the UI's page with curves and gaps: of all runs, or of an experiment's, whose view is then made."""
    key = KEY
    if experiment is not None:
        key, tag = name_view(experiment)
        store.client.set_experiment_tag(store.experiment_id, tag, describe_view(experiment))
    return f"/#/experiments/{store.experiment_id}/runs?compareRunsMode=CHART&viewStateShareKey={key}"
