"""`cvd sync` completes MLflow from files; `cvd runs` lists what it has, and the address where its UI shows the same."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.runtime.experiments import WORKSPACE, list_experiments, list_stale, name_applied, name_experiment, read_lock
from cvd.runtime.files import hash_file
from cvd.runtime.locks import hold_lock
from cvd.runtime.project import state_folder
from cvd.tracking import folders
from cvd.tracking.gate import GATE
from cvd.tracking.records import FILES, MODEL_HASH, MODEL_MD5, RunRecord, describe_origin, now_ms
from cvd.tracking.runs import GROUPS, complete_run, fill_run, find_runs, find_training, join_group, mark_dead_runs
from cvd.tracking.store import Store
from cvd.tracking.view import KEY, describe_view, name_view

if TYPE_CHECKING:
    from mlflow.entities import Run

SHARED = "comparison"  # made of all variants: another one's training changes it
RESULTS_S = 30.0  # what a server may cost the report, which sends what ten stages made
HEADINGS = ("run", "what", "test", "gap", "status", "run id")


def sync_workspace(params: Mapping[str, Any]) -> list[str] | None:
    """Bring into MLflow what the working folder holds and MLflow lacks; a second time there is nothing to do.

    First comes `.cvd/unsent/`. Then each `models/VARIANT.keras` gets its training run with curves, model, figures and
    pictures. Last, the group of each of DVC's experiments is completed by the runs whose models it holds. `params` are
    all of params.yaml. It returns a line for each thing sent or unreadable; None, after a warning, without MLflow.

    Raises:
        InputError: a file of the working folder is damaged.
    """
    with hold_lock(state_folder() / "sync.lock"):
        return GATE.attempt(lambda store: list(_sync(store, params)), patient=True)


def complete_results(params: Mapping[str, Any]) -> None:
    """Bring into MLflow what the stages made of each model that is here: what the report's stage does at the end.

    Training and evaluation have told MLflow themselves. The exports do not, since mlflow's import would cost each of
    them more than its drawing. In an experiment, the runs whose models it left untouched join its group.
    """
    GATE.budget_s = RESULTS_S
    GATE.attempt(lambda store: _complete_results(store, params))


def _complete_results(store: Store, params: Mapping[str, Any]) -> bool:
    experiment, locked = name_experiment(), read_lock()
    list(_send_kept(store))
    for model_path, stale in _list_models():
        variant = model_path.stem
        if variant not in locked or not locked[variant].is_current:
            continue  # the graph has lost it, or it was trained on other data
        list(_sync_variant(store, model_path, params, stale))
        runs = find_runs(store, {"variant": variant, MODEL_HASH: hash_file(model_path)})
        if experiment not in {name for run in runs for name in run.data.tags.get(GROUPS, "").split()}:
            join_group(store, runs[0], experiment)
    return True


def _sync(store: Store, params: Mapping[str, Any]) -> Iterator[str]:
    for name in mark_dead_runs(store):
        yield f"{name}: its process is gone, marked KILLED"
    yield from _send_kept(store)
    for model_path, stale in _list_models():
        yield from _sync_variant(store, model_path, params, stale)
    yield from _sync_groups(store)


def _list_models() -> list[tuple[Path, list[Path]]]:
    """List the models that are here, each with the outputs that were made of another model of its variant."""
    paths = sorted(Path("models").glob("*.keras"))
    stale = list_stale(path.stem for path in paths)
    return [(path, stale[path.stem]) for path in paths]


def _send_kept(store: Store) -> Iterator[str]:
    for folder, record in folders.list_kept():
        if record is None:
            yield f"{folder} cannot be read and is not sent: it is damaged, or another version's; delete it by hand"
            continue
        complete_run(store, record)
        shutil.rmtree(folder)
        yield f"{record.name}: sent what was kept of {record.title}"


def _sync_variant(store: Store, model_path: Path, params: Mapping[str, Any], stale: Sequence[Path]) -> Iterator[str]:
    runs = find_runs(store, {"variant": model_path.stem, MODEL_HASH: hash_file(model_path)})
    run = find_training(runs)
    if run is None:
        record = folders.read_record(model_path, params)
        orphan = next((other for other in runs if "source_run_id" not in other.data.tags), None)
        if orphan is not None:  # an evaluation came first
            record.run_id, record.tags = orphan.info.run_id, {"restored": "true"}
        complete_run(store, record)
        run = store.client.get_run(record.run_id)
        yield f"{run.info.run_name}: made from its files, {len(record.epochs)} epochs"
        runs = [run, *(other for other in runs if other.info.run_id != run.info.run_id)]
    else:
        record = RunRecord(model_path.stem, "", "training", 0, run_id=run.info.run_id, model=model_path)
        record.epochs = folders.read_epochs(model_path)
        yield from (f"{run.info.run_name}: {what}" for what in fill_run(store, record))
        if MODEL_MD5 not in run.data.tags:
            store.client.set_tag(run.info.run_id, MODEL_MD5, hash_file(model_path, "md5"))
    applied = name_experiment()
    applied = name_applied() if applied == WORKSPACE else applied
    yield from _sync_results(store, run, runs, applied, stale)


def _sync_results(store: Store, run: "Run", runs: "list[Run]", applied: str, stale: Sequence[Path]) -> Iterator[str]:
    """Send figures and files that no run of the model has; those that differ go to a run of their experiment."""
    tags = run.data.tags
    for folder, files, metrics in folders.read_results(tags["variant"], stale):
        is_new = tags.get("restored") == "true" and FILES.format(SHARED) not in tags
        if folder == SHARED and tags.get("dvc.exp_name") != applied and not is_new:
            continue  # not this run's: its own experiment's comparison may be another
        record = RunRecord(tags["variant"], tags.get("dvc.exp_name", applied), "evaluation", now_ms())
        record.files, record.metrics = {folder: files} if files else {}, {folder: metrics} if metrics else {}
        digests = record.digest_results()
        known = {tag for tag, digest in digests.items() if digest in {other.data.tags.get(tag) for other in runs}}
        missing = {tag for tag in digests if tag not in tags or tag not in known}
        if missing & tags.keys():
            record.experiment = applied
        origin = {"dvc.exp_name": record.experiment, "group": record.experiment}
        record.tags = describe_origin() | origin | {MODEL_HASH: tags[MODEL_HASH]}
        if missing and (words := complete_run(store, record)):
            yield f"{run.info.run_name}: {' and '.join(words)}"


def _sync_groups(store: Store) -> Iterator[str]:
    """Complete experiments' groups by the models that their dvc.lock names: untouched, or restored from DVC's cache."""
    runs = find_runs(store, {"kind": "training"})
    by_model = {(run.data.tags.get("variant"), run.data.tags.get(MODEL_MD5)): run for run in reversed(runs)}
    trained = {(run.data.tags.get("variant"), run.data.tags.get("dvc.exp_name")) for run in runs}
    for experiment in list_experiments():
        joining = []
        for variant, model in read_lock(experiment.ref).items():
            run = by_model.get((variant, model.md5))  # the newest of a model
            groups = run.data.tags.get(GROUPS, "").split() if run else []
            is_new = (variant, experiment.name) not in trained and experiment.name not in groups
            if run is not None and model.is_current and is_new:
                join_group(store, run, experiment.name)
                joining.append(str(run.info.run_name))
        if joining:
            yield f"{experiment.name}: {', '.join(joining)} joined its group"


@dataclass(frozen=True)
class Listing:
    """Rows under HEADINGS, newest first; the experiments that there are; the UI's page, without its server."""

    rows: list[tuple[str, ...]]
    experiments: list[str]
    page: str

    def format_table(self) -> str:
        """Columns of even width."""
        widths = [max(map(len, column)) for column in zip(HEADINGS, *self.rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in (HEADINGS, *self.rows))


def list_runs(experiment: str | None = None) -> Listing | None:
    """List all runs, or those of an experiment and of variants that it left untouched; None without MLflow."""
    return GATE.attempt(lambda store: _list_runs(store, experiment), patient=True)


def _list_runs(store: Store, experiment: str | None) -> Listing:
    mark_dead_runs(store)
    runs = find_runs(store, {})
    names = {run.data.tags.get("dvc.exp_name", "") for run in runs} | {other.name for other in list_experiments()}
    key = KEY
    if experiment is not None and (runs := _choose(runs, experiment)):
        for run in runs:
            join_group(store, run, experiment)
        key, tag = name_view(experiment)
        store.client.set_experiment_tag(store.experiment_id, tag, describe_view(experiment))
    page = f"/#/experiments/{store.experiment_id}/runs?compareRunsMode=CHART&viewStateShareKey={key}"
    return Listing([_describe(run, experiment) for run in runs], sorted(names - {""}), page)


def _choose(runs: "Sequence[Run]", experiment: str) -> "list[Run]":
    """Choose runs by tags, and by the models that the experiment's dvc.lock names: DVC may have restored it."""
    members = [run for run in runs if experiment in run.data.tags.get(GROUPS, "").split()]
    variants = {run.data.tags.get("variant") for run in members}
    ref = next((other.ref for other in list_experiments() if other.name == experiment), None)
    for variant, model in (read_lock(ref) if ref else {}).items():
        if not model.is_current:  # of other data than the experiment's
            continue
        alike = {"variant": variant, MODEL_MD5: model.md5}.items()
        members += [run for run in runs if alike <= run.data.tags.items()][:1] if variant not in variants else []
    return members


def _describe(run: "Run", experiment: str | None) -> tuple[str, ...]:
    tags, metrics = run.data.tags, run.data.metrics
    what = {"training": "trained", "evaluation": "evaluated"}.get(tags.get("kind", ""), "")
    if experiment not in (None, tags.get("dvc.exp_name")):
        what = "reused"
    test, gap = metrics.get("test/accuracy"), metrics.get("overfitting/accuracy_gap")
    figures = ("" if test is None else f"{test:.4f}", "" if gap is None else f"{gap:+.4f}")
    return (str(run.info.run_name), what, *figures, str(run.info.status), str(run.info.run_id))
