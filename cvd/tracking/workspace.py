"""What the working folder holds of a run: files that DVC restored or pulled without running code."""

import csv
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cvd.runtime.dvc_files import LockedModel, find_experiment, read_lock
from cvd.runtime.files import hash_file
from cvd.tracking.model import MODEL_HASH
from cvd.tracking.run_records import (
    Record,
    arrange_explanations,
    describe_origin,
    digest_of,
    hash_data,
    name_metrics,
    name_params,
)

# What each stage adds to a run, as it calls `log_files` and `add_to_run`: by folder of the run's artifacts.
RESULTS = {
    "training": ("models/{}.history.csv", "models/{}.timing.json", "models/{}.training.json", "models/{}.layers.md"),
    "evaluation": ("metrics/{}.json", "predictions/{}.csv", "plots/evaluation/{}.png"),
    "activations": ("plots/activations/{}/*.png",),
    "filters": ("plots/filters/{}/*",),
    "gradcam": ("plots/gradcam/{}/*.png",),
    "mistakes": ("plots/mistakes/{}.png",),
    "comparison": ("plots/comparison/curves.png", "plots/comparison/differences.png"),
}


def find_results(variant: str, stale: Collection[Path]) -> dict[str, list[Path]]:
    """Files made of the variant's model in the working folder, by the folder that they have in a run's artifacts.

    Args:
        variant: its name.
        stale: what was made of another model, as of `cvd.runtime.dvc_files.list_stale`.
    """
    found = {}
    for folder, patterns in RESULTS.items():
        paths = (path for pattern in patterns for path in Path().glob(pattern.format(variant)))
        found[folder] = sorted(path for path in paths if path.is_file() and not {path, *path.parents} & set(stale))
    return {folder: files for folder, files in found.items() if files}


def find_figures(variant: str, stale: Collection[Path]) -> dict[str, dict[str, float]]:
    """Figures of the variant's model in the working folder, by the folder of the stage that made them; as above."""
    found = {}
    evaluation, explanations = Path("metrics", f"{variant}.json"), Path("metrics/explanations.json")
    if evaluation.is_file() and evaluation not in stale:
        found["evaluation"] = name_metrics(json.loads(evaluation.read_text(encoding="utf-8")))
    if explanations.is_file() and explanations not in stale:
        methods = json.loads(explanations.read_text(encoding="utf-8")).get(variant, {})
        found["explanations"] = name_metrics(arrange_explanations(methods))
    return {folder: figures for folder, figures in found.items() if figures}


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
    """A training's record from its files: parameters as dvc.lock has them, else those beside the files."""
    variant, md5 = model_path.stem, hash_file(model_path, "md5")
    locked = read_lock().get(variant, LockedModel(""))
    kept = name_params(locked.params if locked.md5 == md5 else params, variant)
    timing = _read_timing(model_path)
    end_ms = int(model_path.stat().st_mtime * 1000)
    start_ms = end_ms - int(float(timing.get("seconds", 0)) * 1000)
    data = _digest_data(kept)
    experiment = find_experiment(variant, md5)
    record = Record(variant, experiment.name, "training", start_ms, params=kept, data=data, end_ms=end_ms)
    record.epochs, record.status = read_epochs(model_path), "FINISHED"
    record.tags = describe_origin() | {f"data.{name}": digest for name, digest in data.items()}
    record.tags |= {"dvc.stage": f"train@{variant}", "dvc.exp_name": experiment.name, "group": experiment.name}
    record.tags |= {"params.digest": digest_of(kept), MODEL_HASH: hash_file(model_path), "restored": "true"}
    record.tags |= {"mlflow.source.name": "stages.train"} | experiment.describe_code()
    training = model_path.with_name(f"{variant}.training.json")
    if training.exists():
        record.tags["precision"] = str(json.loads(training.read_text(encoding="utf-8")).get("precision", "unknown"))
    if "device" in timing:
        record.tags["processor"] = str(timing["device"])
    return record


def _digest_data(params: Mapping[str, str]) -> dict[str, str]:
    """Digests of what the training read, as far as it is here."""
    paths = {"manifest": Path("data/manifest.csv")}
    if (read := params.get("variant.input", "files")) != "files":
        paths[read] = Path("data", read)
    if params.get("variant.network") == "backbone":
        paths["backbone"] = Path("models/backbone")
    return {name: hash_data(path) for name, path in paths.items() if path.exists()}
