"""Records of runs in folders: what waits in `.cvd/unsent/` for `cvd sync`, and what the working folder holds."""

import csv
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cvd.runtime.experiments import LockedModel, find_experiment, read_lock
from cvd.runtime.files import digest_files, hash_file, read_json, replace_folder
from cvd.runtime.project import state_folder
from cvd.tracking import records
from cvd.tracking.records import MODEL_HASH, RunRecord, arrange_files, name_metrics

# What each stage adds to a run, by folder of the run's artifacts.
RESULTS = {
    "training": ("models/{}.history.csv", "models/{}.timing.json", "models/{}.training.json", "models/{}.layers.md"),
    "evaluation": ("metrics/{}.json", "predictions/{}.csv", "plots/evaluation/{}.png"),
    "activations": ("plots/activations/{}/*.png",),
    "filters": ("plots/filters/{}/*",),
    "gradcam": ("plots/gradcam/{}/*.png",),
    "mistakes": ("plots/mistakes/{}.png",),
    "explanations": ("metrics/explanations/{}.json",),
    "comparison": ("plots/comparison/curves.png", "plots/comparison/differences.png", "plots/comparison/sizes.png"),
}


def keep(record: RunRecord) -> None:
    """Keep a record that could not be sent; where that fails too, as on a full disk, one line says that it is lost."""
    name = f"{record.start_ms}-{record.variant}-{os.getpid()}-{record.title.replace(' ', '-')}"
    try:
        with replace_folder(state_folder() / "unsent" / name) as folder:
            if record.model:
                _link(record.model, folder / "model" / record.model.name)
            for place, paths in record.files.items():
                for file, path in arrange_files(paths).items():
                    _link(path, folder / "files" / place / file)
            fields = asdict(record) | {"model": None, "files": {}}
            (folder / "fields.json").write_text(json.dumps(fields, indent=1), encoding="utf-8")
    except OSError as error:
        print(f"warning: what MLflow lacks of {record.name} cannot be kept: {error.strerror}", file=sys.stderr)


def _link(source: Path, target: Path) -> None:
    """A hard link, which takes no room and outlives an experiment's temporary copy; else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def list_kept() -> list[tuple[Path, RunRecord | None]]:
    """List what waits to be sent, with its folder, oldest first; None for a damaged record, or another version's."""
    waiting: list[tuple[Path, RunRecord | None]] = []
    for path in sorted((state_folder() / "unsent").glob("[!.]*/fields.json")):  # folders begin with the time
        try:
            record = RunRecord(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError):
            waiting.append((path.parent, None))
            continue
        record.model = next(iter(_list_files(path.parent / "model")), None)
        record.files = {place.name: _list_files(place) for place in sorted(path.parent.glob("files/*"))}
        waiting.append((path.parent, record))
    return waiting


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read_results(variant: str, stale: Collection[Path]) -> Iterator[tuple[str, list[Path], dict[str, float]]]:
    """Find what stages made of a model, without `stale` files: (folder of the run's artifacts, files, figures)."""
    for folder, patterns in RESULTS.items():
        paths = (path for pattern in patterns for path in Path().glob(pattern.format(variant)) if path.is_file())
        fresh = sorted(path for path in paths if not {path, *path.parents} & set(stale))
        figures: dict[str, Any] = {}
        if folder == "evaluation" and (path := Path("metrics", f"{variant}.json")) in fresh:
            figures = read_json(path)
        if folder == "explanations" and fresh:
            figures, fresh = records.arrange_explanations(read_json(fresh[0])), []
        if fresh or name_metrics(figures):
            yield folder, fresh, name_metrics(figures)


def read_epochs(model_path: Path) -> list[tuple[int, int, dict[str, float]]]:
    """Read the curves of `models/VARIANT.history.csv`, with images per second from the timing; [] without a history."""
    history = model_path.with_name(f"{model_path.stem}.history.csv")
    if not history.exists():
        return []
    with history.open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    timing = _read_beside(model_path, "timing")
    seconds = [float(value) for value in timing.get("seconds_per_epoch", [])]
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


def _read_beside(model_path: Path, kind: str) -> dict[str, Any]:
    """`models/VARIANT.KIND.json`, {} where there is none."""
    path = model_path.with_name(f"{model_path.stem}.{kind}.json")
    return dict(read_json(path)) if path.exists() else {}


def read_record(model_path: Path, params: Mapping[str, Any]) -> RunRecord:
    """Read a training's record from its files: parameters as dvc.lock has them, else those beside the files."""
    variant, md5 = model_path.stem, hash_file(model_path, "md5")
    locked = read_lock().get(variant, LockedModel(""))
    settings = records.name_params(locked.params if locked.md5 == md5 else params, variant)
    timing, training = _read_beside(model_path, "timing"), _read_beside(model_path, "training")
    end_ms = int(model_path.stat().st_mtime * 1000)
    start_ms = end_ms - int(float(timing.get("seconds", 0)) * 1000)
    data, processor = _digest_data(settings), timing.get("device")
    experiment = find_experiment(variant, md5)
    tags = records.describe_training(settings, data, precision=training.get("precision"), processor=processor)
    tags |= records.describe_origin() | experiment.describe_code()
    tags |= {MODEL_HASH: hash_file(model_path), "restored": "true"}
    tags |= {"dvc.stage": f"train@{variant}", "dvc.exp_name": experiment.name, "group": experiment.name}
    record = RunRecord(variant, experiment.name, "training", start_ms, tags, settings, data, read_epochs(model_path))
    record.end_ms, record.status, record.model = end_ms, "FINISHED", model_path
    return record


def _digest_data(params: Mapping[str, str]) -> dict[str, str]:
    """Digests of what the training read, as far as it is here."""
    paths = {"manifest": Path("data/manifest.csv")}
    if (read := params.get("variant.input", "files")) != "files":
        paths[read] = Path("data", read)
    if params.get("variant.network") == "backbone":
        paths["backbone"] = Path("models/backbone")
    return {name: digest_files([path]) for name, path in paths.items() if path.exists()}
