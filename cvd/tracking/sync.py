"""What completes MLflow from files, lists what it has, and puts a model in use."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cvd.runtime import experiments
from cvd.runtime.errors import InputError
from cvd.runtime.experiments import HEAD, WORKSPACE, Experiment, list_experiments, name_applied, read_lock
from cvd.runtime.files import hash_file, read_json
from cvd.runtime.locks import hold_lock
from cvd.runtime.project import state_folder, store_uri
from cvd.runtime.revisions.contents import open_experiments
from cvd.tracking.gate import GATE, describe_error, probe
from cvd.tracking.model import CHAMPION, register_model
from cvd.tracking.records import MANIFEST, MODEL_MD5, PART, Part, RunRecord, describe_origin, now_ms, read_classes
from cvd.tracking.results import RESULTS, SHARED, Place, lay_out, read_epochs, read_training
from cvd.tracking.runs import GROUPS, complete_run, fill_run, find_runs, find_training, join_group, mark_dead_runs
from cvd.tracking.store import Store
from cvd.tracking.view import KEY, describe_view, name_view

if TYPE_CHECKING:
    from mlflow.entities import Run

NOTES = "searches/*/trials/*/run.json"  # what a search keeps of its trials, few of whose networks are left
RESULTS_S = 30.0  # what a server may cost the report, which sends what ten stages made


class Synced(NamedTuple):
    """A line for each thing sent, and for each that was set aside."""

    sent: list[str]
    faults: list[str]

    def collect(self, name: str, lines: Iterable[str]) -> None:
        """Add lines as they come; what fails while the store can be used is set aside by its name."""
        try:
            self.sent.extend(lines)
        except Exception as error:  # one item must not hold up the others
            probe(store_uri(), patient=True)
            self.faults.append(f"{name} is set aside: {describe_error(error)}")


def sync_workspace(params: Mapping[str, Any]) -> Synced | None:
    """Bring into MLflow what DVC holds and MLflow lacks; a second time there is nothing to do.

    Each `models/VARIANT.keras` of the working folder, of HEAD and of DVC's experiments, as far as DVC's cache has them,
    gets its training run with curves, model, figures and pictures; so do trials of searches. Last, the group of each
    experiment is completed by the runs whose models it holds. `params` are all of params.yaml. None, after a warning,
    without MLflow.
    """
    with hold_lock(state_folder() / "sync.lock"):
        return GATE.attempt(lambda store: _sync(store, params), patient=True)


def complete_results(params: Mapping[str, Any]) -> None:
    """Bring into MLflow what the stages made of each model that is here, at the end of the report's stage.

    The exports do not, since mlflow's import would cost each of them more than its drawing. In an experiment, the runs
    whose models it left untouched join its group.
    """
    GATE.budget_s = RESULTS_S
    GATE.attempt(lambda store: _complete_results(store, params))


def _complete_results(store: Store, params: Mapping[str, Any]) -> bool:
    locked, place, experiment, done = read_lock(), _open_workspace(), experiments.name_experiment(), Synced([], [])
    mark_dead_runs(store)
    for model_path, stale in place.list_models():
        variant = model_path.stem
        if variant not in locked or not locked[variant].is_current:
            continue  # the graph has lost it, or it was trained on other data
        runs = _sync_variant(store, place, model_path, params, stale, done)
        if runs and experiment not in {name for run in runs for name in run.data.tags.get(GROUPS, "").split()}:
            join_group(store, runs[0], experiment)
    for fault in done.faults:
        print(f"warning: {fault}", file=sys.stderr)
    return True


def _open_workspace() -> Place:
    return Place(Path(), Experiment(os.environ.get("DVC_EXP_NAME") or name_applied(), ""))


def _sync(store: Store, params: Mapping[str, Any]) -> Synced:
    done = Synced([], [])
    done.sent.extend(f"{name}: its process is gone, marked KILLED" for name in mark_dead_runs(store))
    _sync_place(store, _open_workspace(), params, done)
    seen = []
    for revision in open_experiments([Experiment(WORKSPACE, HEAD), *reversed(list_experiments())], Path.cwd()):
        if revision.stages not in seen:
            seen.append(revision.stages)
            with lay_out(revision) as place:
                _sync_place(store, place, params, done)
    for note in sorted(Path().glob(NOTES)):
        done.collect(str(note), _sync_trial(store, note))
    done.collect("groups of experiments", _sync_groups(store))
    return done


def _sync_place(store: Store, place: Place, params: Mapping[str, Any], done: Synced) -> None:
    for model_path, stale in place.list_models():
        _sync_variant(store, place, model_path, params, stale, done)


def _sync_variant(
    store: Store, place: Place, model_path: Path, params: Mapping[str, Any], stale: Sequence[Path], done: Synced
) -> "list[Run]":
    """Send what MLflow lacks of a model; return its runs, newest first."""
    variant, model = model_path.stem, {"variant": model_path.stem, MODEL_MD5: hash_file(model_path, "md5")}
    name = f"{place.experiment.name}/{variant}"
    done.collect(name, _sync_training(store, place, model_path, params, find_runs(store, model)))
    runs = find_runs(store, model)
    if run := find_training(runs):
        for folder in RESULTS:
            read = partial(place.read_part, folder, variant, stale)
            done.collect(f"{name}, {folder}", _sync_part(store, place, run, runs, folder, read))
    return find_runs(store, model)


def _sync_training(
    store: Store, place: Place, model_path: Path, params: Mapping[str, Any], runs: "list[Run]"
) -> Iterator[str]:
    if (run := find_training(runs)) is None:
        record = read_training(place.root, model_path.stem, params)
        orphan = next((other for other in runs if "source_run_id" not in other.data.tags), None)
        if orphan is not None:  # an evaluation came first
            record.run_id, record.tags = orphan.info.run_id, {"restored": "true"}
        complete_run(store, record)
        made = store.client.get_run(record.run_id).info.run_name
        yield f"{made}: made from its files, {len(record.epochs)} epochs"
    else:
        record = RunRecord(model_path.stem, "", "training", 0, run_id=run.info.run_id, model=model_path)
        record.epochs, record.classes = read_epochs(model_path), read_classes(place.root / MANIFEST)
        yield from (f"{run.info.run_name}: {what}" for what in fill_run(store, record))


def _sync_part(
    store: Store, place: Place, run: "Run", runs: "list[Run]", folder: str, read: Callable[[], Part | None]
) -> Iterator[str]:
    """Send a part that no run of the model has; one that differs goes to a run of its experiment."""
    tags, applied, tag, part = run.data.tags, place.experiment.name, PART.format(folder), read()
    trainer = tags.get("dvc.exp_name", applied)
    if folder == SHARED and trainer != applied and (tag in tags or tags.get("restored") != "true"):
        return  # not this run's: its own experiment's comparison may be another
    if part is None or (
        tag in tags and (part.is_inherited or part.digest() in {other.data.tags.get(tag) for other in runs})
    ):
        return
    name = applied if tag in tags else trainer
    record = RunRecord(tags["variant"], name, "evaluation", now_ms(), parts={folder: part})
    record.tags = describe_origin() | place.experiment.describe_code() | {MODEL_MD5: tags[MODEL_MD5]}
    record.tags |= {"dvc.exp_name": name, "group": name}
    if words := complete_run(store, record):
        yield f"{run.info.run_name}: {' and '.join(words)}"


def _sync_trial(store: Store, note: Path) -> Iterator[str]:
    """Make the run of a search's trial, or end one that its server saw no end of."""
    record = RunRecord(**read_json(note))
    record.parts = {folder: Part(**part) for folder, part in read_json(note)["parts"].items()}
    runs = find_runs(store, {"run_key": record.tags["run_key"]})
    if not runs or runs[0].info.status != "FINISHED":
        record.run_id = runs[0].info.run_id if runs else None
        complete_run(store, record)
        yield f"{record.name}: made from {note}, {len(record.epochs)} epochs"


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


def promote_variant(params: Mapping[str, Any], variant: str, experiment: str | None) -> str | None:
    """Register a model of the working folder or an experiment as champion; say so. None without MLflow."""
    return GATE.attempt(lambda store: _promote(store, params, variant, experiment), patient=True)


def _promote(store: Store, params: Mapping[str, Any], variant: str, experiment: str | None) -> str:
    if experiment is None:
        place = _open_workspace()
        models = {path.stem: (path, stale) for path, stale in place.list_models()}
        if variant not in models:
            raise InputError(f"models/{variant}.keras is not there: there are {', '.join(models) or 'none yet'}")
        path, stale = models[variant]
        runs = _sync_variant(store, place, path, params, stale, Synced([], []))
    else:
        runs = [run for run in _choose(find_runs(store, {}), experiment) if run.data.tags.get("variant") == variant]
    if (run := find_training(runs)) is None or not run.outputs.model_outputs:
        raise InputError(f"{experiment}/{variant} has no model in MLflow: see `cvd runs {experiment}` and `cvd sync`")
    name, version = register_model(store, run)
    return f"{run.info.run_name} is version {version} of {name}: models:/{name}@{CHAMPION}"


class Listing(NamedTuple):
    """Runs, newest first; the names of all experiments; the UI's page that shows the runs, without its server."""

    runs: "list[Run]"
    experiments: list[str]
    page: str


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
    return Listing(runs, sorted(names - {""}), page)


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
