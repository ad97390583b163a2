"""Completing MLflow from files: what DVC restored without running code, and what could not be sent."""

import csv
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.tracking.additions import find_training
from cvd.tracking.gate import GATE
from cvd.tracking.records import (
    Record,
    ask_git,
    describe_origin,
    digest_of,
    hash_file,
    hash_manifest,
    kept_records,
    name_metrics,
    name_params,
)
from cvd.tracking.runs import (
    MODEL_HASH,
    digest_files,
    find_runs,
    log_epochs,
    log_files,
    log_model,
    log_results,
    mark_dead_runs,
    send_record,
)
from cvd.tracking.store import Store, state_folder

if TYPE_CHECKING:
    from mlflow.entities import Run

# What each stage adds to a run, as it calls `log_files` and `add_to_run`: by folder of the run's artifacts.
RESULTS = {
    "training": ("models/{}.history.csv", "models/{}.timing.json", "models/{}.training.json", "models/{}.layers.md"),
    "evaluation": ("metrics/{}.json", "predictions/{}.csv", "plots/evaluation/{}.png"),
    "activations": ("plots/activations/{}/*.png",),
    "filters": ("plots/filters/{}/*",),
    "gradcam": ("plots/gradcam/{}/*.png",),
    "comparison": ("plots/comparison/curves.png", "plots/comparison/differences.png"),
}
SHARED = "comparison"  # made of all variants: another one's training changes it


def sync_workspace(params: Mapping[str, Any]) -> list[str] | None:
    """Brings into MLflow what the working folder holds and MLflow lacks; a second time there is nothing to do.

    Runs kept in `.cvd/unsent/` are sent first. Then each `models/VARIANT.keras` gets its training run, with curves from
    its history, model, figures and pictures, unless a run with this very model has them.

    Args:
        params: all parameters, nested, as in params.yaml: those of the models here.

    Returns:
        One line for each thing sent; None when MLflow could not be used (one warning line said so).
    """
    with (state_folder() / "sync.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return GATE.attempt(lambda store: list(_sync(store, params)), patient=True)


def _sync(store: Store, params: Mapping[str, Any]) -> Iterator[str]:
    for name in mark_dead_runs(store):
        yield f"{name}: its process is gone, marked KILLED"
    for path, record in kept_records():
        send_record(store, record)
        path.unlink()
        yield f"{record.name}: sent what was kept"
    for model_path in sorted(Path("models").glob("*.keras")):
        yield from _sync_variant(store, model_path, params)


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
    elif missing := _missing_epochs(store, run, model_path):
        log_epochs(store, run.info.run_id, missing)
        yield f"{run.info.run_name}: {len(missing)} epochs"
    if not (run.outputs and run.outputs.model_outputs):
        log_model(store, run.info.run_id, model_path)
        yield f"{run.info.run_name}: model"
    yield from _sync_results(store, run, runs, variant)


def _missing_epochs(store: Store, run: "Run", model_path: Path) -> list[tuple[int, int, dict[str, float]]]:
    sent = {point.step for point in store.client.get_metric_history(run.info.run_id, "loss")}
    return [entry for entry in read_epochs(model_path) if entry[0] not in sent]


def _sync_results(store: Store, run: "Run", runs: "list[Run]", variant: str) -> Iterator[str]:
    """Figures and files, each unless one of the model's runs has it unchanged."""
    name, run_id = run.info.run_name, run.info.run_id
    metrics_path = Path("metrics", f"{variant}.json")
    if metrics_path.exists():
        metrics = json.loads(metrics_path.read_text(encoding="utf-8"))
        digest = digest_of(name_metrics(metrics))
        if not any(other.data.tags.get("metrics.digest") == digest for other in runs):
            log_results(store, run_id, metrics)
            yield f"{name}: figures"
    for folder, files in find_results(variant).items():
        if folder == SHARED and (run.data.tags.get("restored") != "true" or f"files.{SHARED}" in run.data.tags):
            continue  # not this run's: its own experiment's comparison may be another
        digest = digest_files(files)
        if not any(other.data.tags.get(f"files.{folder}") == digest for other in runs):
            log_files(store, run_id, files, folder)
            yield f"{name}: {len(files)} files of {folder}"


def find_results(variant: str) -> dict[str, list[Path]]:
    """A variant's files in the working folder, by the folder that they have in a run's artifacts."""
    found = {}
    for folder, patterns in RESULTS.items():
        paths = (path for pattern in patterns for path in Path().glob(pattern.format(variant)))
        found[folder] = sorted(path for path in paths if path.is_file())
    return {folder: files for folder, files in found.items() if files}


def read_epochs(model_path: Path) -> list[tuple[int, int, dict[str, float]]]:
    """Curves from `models/VARIANT.history.csv`, with images per second from the timing; [] when there is no history."""
    history = model_path.with_name(f"{model_path.stem}.history.csv")
    if not history.exists():
        return []
    with history.open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    timing = _read_timing(model_path)
    seconds = [float(each) for each in timing.get("seconds_per_epoch", [])]
    seconds = seconds if len(seconds) == len(rows) else [0.0] * len(rows)
    mean_s = sum(seconds) / max(len(seconds), 1)
    moment = int(model_path.stat().st_mtime * 1000) - int(sum(seconds) * 1000)
    epochs = []
    for row, taken_s in zip(rows, seconds, strict=True):
        moment += int(taken_s * 1000)
        epoch = int(row.pop("epoch"))
        if taken_s and "images_per_second" in timing:
            row["images_per_second"] = timing["images_per_second"] * mean_s / taken_s
        epochs.append((epoch, moment, row))
    return epochs


def _read_timing(model_path: Path) -> dict[str, Any]:
    path = model_path.with_name(f"{model_path.stem}.timing.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def read_record(model_path: Path, params: Mapping[str, Any]) -> Record:
    """A training's record from its files and the parameters beside them."""
    variant = model_path.stem
    experiment, commit = find_experiment(model_path)
    end_ms = int(model_path.stat().st_mtime * 1000)
    start_ms = end_ms - int(float(_read_timing(model_path).get("seconds", 0)) * 1000)
    kept = name_params(params, variant)
    manifest = Path("data/manifest.csv")
    data = {"manifest": hash_manifest(manifest)} if manifest.exists() else {}
    record = Record(variant, experiment, "training", start_ms, params=kept, data=data, end_ms=end_ms)
    record.epochs, record.status = read_epochs(model_path), "FINISHED"
    record.tags = describe_origin() | {f"data.{name}": digest for name, digest in data.items()}
    record.tags |= {"dvc.stage": f"train@{variant}", "dvc.exp_name": experiment, "group": experiment}
    record.tags |= {"params.digest": digest_of(kept), MODEL_HASH: hash_file(model_path), "restored": "true"}
    record.tags |= {"mlflow.source.name": "stages.train"}
    if commit:
        record.tags |= {"git.commit": commit, "mlflow.source.git.commit": commit, "git.dirty": "false"}
    device = _read_timing(model_path).get("device")
    if device:
        record.tags["processor"] = str(device)
    training = model_path.with_name(f"{variant}.training.json")
    if training.exists():
        record.tags["precision"] = str(json.loads(training.read_text(encoding="utf-8")).get("precision", "unknown"))
    return record


def find_experiment(model_path: Path) -> tuple[str, str]:
    """The DVC experiment whose dvc.lock names this very model, and its commit; ("workspace", "") when none does.

    $DVC_EXP_NAME goes first, then HEAD, then the experiments, newest first.
    """
    if name := os.environ.get("DVC_EXP_NAME"):
        return name, ""
    md5 = hash_file(model_path, "md5")
    if md5 in ask_git("show", "HEAD:./dvc.lock"):
        return "workspace", ask_git("rev-parse", "HEAD")
    for ref in ask_git("for-each-ref", "--sort=-creatordate", "--format=%(refname)", "refs/exps").split():
        if ref.count("/") >= 4 and md5 in ask_git("show", f"{ref}:./dvc.lock"):
            return ref.rsplit("/", 1)[1], ask_git("rev-parse", ref)
    return "workspace", ""
