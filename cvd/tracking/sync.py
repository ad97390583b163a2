"""Completing MLflow from files: what DVC restored without running code, and what could not be sent."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.runtime.dvc_files import list_experiments, list_stale, name_applied, read_lock
from cvd.runtime.files import hash_file
from cvd.runtime.locks import hold_lock
from cvd.runtime.project import state_folder
from cvd.tracking import outbox
from cvd.tracking.additions import send_addition
from cvd.tracking.gate import GATE
from cvd.tracking.model import MODEL_HASH, MODEL_MD5, log_model
from cvd.tracking.outbox import Addition
from cvd.tracking.run_records import Record, describe_origin, digest_files, digest_of, name_digest, now_ms
from cvd.tracking.runs import (
    GROUPS,
    find_runs,
    find_steps,
    find_training,
    has_model,
    join_group,
    log_epochs,
    log_files,
    log_results,
    log_tags,
    mark_dead_runs,
    send_record,
)
from cvd.tracking.store import Store
from cvd.tracking.workspace import find_figures, find_results, read_epochs, read_record

if TYPE_CHECKING:
    from mlflow.entities import Run

SHARED = "comparison"  # made of all variants: another one's training changes it


def sync_workspace(params: Mapping[str, Any]) -> list[str] | None:
    """Brings into MLflow what the working folder holds and MLflow lacks; a second time there is nothing to do.

    What is kept in `.cvd/unsent/` is sent first. Then each `models/VARIANT.keras` gets its training run, with curves
    from its history, model, figures and pictures, unless a run with this very model has them. Last, each of DVC's
    experiments has its group completed by the runs whose models it holds.

    Args:
        params: all parameters, nested, as in params.yaml: those of the models here.

    Returns:
        One line for each thing sent; None when MLflow could not be used (one warning line said so).
    """
    with hold_lock(state_folder() / "sync.lock"):
        return GATE.attempt(lambda store: list(_sync(store, params)), patient=True)


def _sync(store: Store, params: Mapping[str, Any]) -> Iterator[str]:
    for name in mark_dead_runs(store):
        yield f"{name}: its process is gone, marked KILLED"
    for folder, item in outbox.list_kept():
        if isinstance(item, Record):
            send_record(store, item)
        else:
            send_addition(store, item)
        outbox.drop(folder)
        yield f"{item.name}: sent what was kept of {getattr(item, 'folder', 'the training') or 'the figures'}"
    for model_path in sorted(Path("models").glob("*.keras")):
        yield from _sync_variant(store, model_path, params)
    yield from _sync_groups(store)


def _sync_variant(store: Store, model_path: Path, params: Mapping[str, Any]) -> Iterator[str]:
    variant = model_path.stem
    digest = hash_file(model_path)
    runs = find_runs(store, {"variant": variant, MODEL_HASH: digest})
    run = find_training(runs)
    if run is None:
        orphan = next((run for run in runs if "source_run_id" not in run.data.tags), None)
        record = read_record(model_path, params)
        if orphan is not None:
            record.run_id, record.tags = orphan.info.run_id, {"restored": "true"}
        run = store.client.get_run(send_record(store, record))
        yield f"{run.info.run_name}: made from its files, {len(record.epochs)} epochs"
        runs = [run, *(other for other in runs if other.info.run_id != run.info.run_id)]
    else:
        sent = find_steps(store, run.info.run_id)
        if missing := [entry for entry in read_epochs(model_path) if entry[0] not in sent]:
            log_epochs(store, run.info.run_id, missing)
            yield f"{run.info.run_name}: {len(missing)} epochs"
    if not has_model(store, run.info.run_id):
        log_model(store, run.info.run_id, model_path)
        yield f"{run.info.run_name}: model"
    elif MODEL_MD5 not in run.data.tags:
        log_tags(store, run.info.run_id, {MODEL_MD5: hash_file(model_path, "md5")})
    yield from _sync_results(store, run, runs, variant)


def _sync_results(store: Store, run: "Run", runs: "list[Run]", variant: str) -> Iterator[str]:
    """Figures and files, each unless one of the model's runs has it unchanged.

    Where the training's run has others, these go to a run of the experiment that made them.
    """
    applied = name_applied()
    has_own = applied == run.data.tags.get("dvc.exp_name")
    stale = list_stale(variant)
    all_files, all_figures = find_results(variant, stale), find_figures(variant, stale)
    for folder in all_files | all_figures:
        if folder == SHARED and (run.data.tags.get("restored") != "true" or f"files.{SHARED}" in run.data.tags):
            continue  # not this run's: its own experiment's comparison may be another
        files, metrics = all_files.get(folder, []), all_figures.get(folder, {})
        tags = {f"files.{folder}": digest_files(files)} if files else {}
        tags |= {name_digest(folder): digest_of(metrics)} if metrics else {}
        known = {tag: {other.data.tags.get(tag) for other in runs} for tag in tags}
        missing = {tag for tag in tags if tag not in run.data.tags or tags[tag] not in known[tag]}
        if not missing:
            continue
        what = [f"{len(files)} files"] * bool(files) + ["figures"] * (name_digest(folder) in missing)
        yield f"{run.info.run_name}: {' and '.join(what)} of {folder}"
        if has_own or not missing & run.data.tags.keys():
            log_results(store, run.info.run_id, metrics, folder)
            if files:
                log_files(store, run.info.run_id, files, folder)
        else:
            model = run.data.tags[MODEL_HASH]
            origin = describe_origin() | {"dvc.exp_name": applied, "group": applied}
            send_addition(store, Addition(variant, model, applied, now_ms(), origin, metrics, folder, files=files))


def _sync_groups(store: Store) -> Iterator[str]:
    """Untouched variants, and experiments that DVC restored from its cache, by the models that dvc.lock names."""
    trained, runs = {}, find_runs(store, {"kind": "training"})
    for run in reversed(runs):  # the newest of a model counts
        trained[run.data.tags.get("variant"), run.data.tags.get(MODEL_MD5)] = run
    for experiment in list_experiments():
        models = read_lock(experiment.ref).items()
        found = [run for variant, model in models if (run := trained.get((variant, model.md5))) is not None]
        own = {(each.data.tags.get("variant"), each.data.tags.get("dvc.exp_name")) for each in runs}
        found = [run for run in found if (run.data.tags.get("variant"), experiment.name) not in own]
        joining = [run for run in found if experiment.name not in run.data.tags.get(GROUPS, "").split()]
        for run in joining:
            join_group(store, run, experiment.name)
        if joining:
            yield f"{experiment.name}: {', '.join(run.info.run_name for run in joining)} joined its group"
