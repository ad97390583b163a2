"""What a folder holds of each model: the working folder, or an experiment laid out from its lock and DVC's cache."""

import contextlib
import csv
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvd.runtime.errors import InputError
from cvd.runtime.experiments import HEAD, Experiment, LockedModel, find_experiment, list_stale, read_lock
from cvd.runtime.files import digest_files, hash_file, read_json
from cvd.runtime.revisions.contents import Revision, open_baseline
from cvd.tracking import records
from cvd.tracking.records import MANIFEST, MODEL_MD5, Part, RunRecord, arrange_files, name_metrics

# What each stage adds to a run, by folder of the run's artifacts.
RESULTS = {
    "training": ("models/{}.history.csv", "models/{}.timing.json", "models/{}.training.json", "models/{}.layers.md"),
    "evaluation": ("metrics/{}.json", "predictions/{}.csv", "plots/evaluation/{}.png"),
    "activations": ("plots/activations/{}/*.png",),
    "filters": ("plots/filters/{}/*",),
    "gradcam": ("plots/gradcam/{}/*.png",),
    "epochs": ("plots/gradcam/{}/epochs/*-epoch-*.png",),
    "mistakes": ("plots/mistakes/{}.png",),
    "explanations": ("metrics/explanations/{}.json",),
    "comparison": ("plots/comparison/curves.png", "plots/comparison/differences.png", "plots/comparison/sizes.png"),
}
SHARED = "comparison"  # made of all variants: another one's training changes it
FOLDERS = ("models", "metrics", "predictions", "plots", "data/manifest.csv", "data/shards", "data/features")


@dataclass(frozen=True)
class Place:
    """A folder laid out as the project, and the experiment whose results it holds."""

    root: Path
    experiment: Experiment
    inherited: Collection[Path] = field(default=(), repr=False)  # outputs that another commit made

    def list_models(self) -> list[tuple[Path, list[Path]]]:
        """List the models that are here, each with the outputs that were made of another model of its variant."""
        paths = sorted((self.root / "models").glob("*.keras"))
        stale = list_stale([path.stem for path in paths], self.root)
        return [(path, stale[path.stem]) for path in paths]

    def read_part(self, folder: str, variant: str, stale: Collection[Path]) -> Part | None:
        """Read what a stage made of a model, without `stale` files; None where there is nothing."""
        patterns = [pattern.format(variant) for pattern in RESULTS[folder]]
        found = [path for pattern in patterns for path in self.root.glob(pattern) if path.is_file()]
        paths = sorted(path for path in found if not self._is_within(path, stale))
        figures: dict[str, float] = {}
        if folder == "explanations" and paths:
            figures = name_metrics(records.arrange_explanations(read_json(paths.pop())))
        elif (path := self.root / f"metrics/{variant}.json") in paths:
            figures = name_metrics(read_json(path))
        is_inherited = all(self._is_within(path, self.inherited) for path in found)
        return Part(figures, arrange_files(paths), is_inherited) if paths or figures else None

    def _is_within(self, path: Path, outputs: Collection[Path]) -> bool:
        path = path.relative_to(self.root)
        return bool({path, *path.parents} & set(outputs))


@contextlib.contextmanager
def lay_out(revision: Revision) -> Iterator[Place]:
    """Lay out what DVC's cache and git hold of a revision as the project lies: a temporary folder of links."""
    with tempfile.TemporaryDirectory() as name:
        for path, content in revision.list_files(FOLDERS).items():
            target = Path(name, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                target.symlink_to(content.absolute())
            else:
                target.write_bytes(content)
        baseline = revision.digests if revision.ref == HEAD else {}  # the working folder is ahead of the commit
        with contextlib.suppress(InputError):
            baseline = baseline or open_baseline(revision).digests
        inherited = [Path(path) for path, md5 in revision.digests.items() if baseline.get(path) == md5]
        yield Place(Path(name), Experiment(revision.name, revision.ref), inherited)


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


def read_training(root: Path, variant: str, params: Mapping[str, Any]) -> RunRecord:
    """Read a training's record from its files: parameters as dvc.lock has them, else `params`."""
    model_path = root / f"models/{variant}.keras"
    md5 = hash_file(model_path, "md5")
    locked = read_lock(root=root).get(variant, LockedModel(""))
    settings = records.name_params(locked.params if locked.md5 == md5 else params, variant)
    timing, training = _read_beside(model_path, "timing"), _read_beside(model_path, "training")
    end_ms = int(model_path.stat().st_mtime * 1000)
    start_ms = end_ms - int(float(timing.get("seconds", 0)) * 1000)
    data, processor = _digest_data(root, settings), timing.get("device")
    experiment = find_experiment(variant, md5)
    tags = records.describe_training(settings, data, precision=training.get("precision"), processor=processor)
    tags |= records.describe_origin() | experiment.describe_code() | {"restored": "true", MODEL_MD5: md5}
    tags |= {"dvc.stage": f"train@{variant}", "dvc.exp_name": experiment.name, "group": experiment.name}
    record = RunRecord(variant, experiment.name, "training", start_ms, tags, settings, data, read_epochs(model_path))
    record.end_ms, record.status, record.model = end_ms, "FINISHED", model_path
    record.classes = records.read_classes(root / MANIFEST)
    return record


def _digest_data(root: Path, params: Mapping[str, str]) -> dict[str, str]:
    """Digests of what the training read, as far as it is here, and of the splits."""
    paths = {"manifest": root / MANIFEST}
    if (read := params.get("variant.input", "files")) != "files":
        paths[read] = root / "data" / read
    if params.get("variant.network") == "backbone":
        paths["backbone"] = root / "models/backbone"
    digests = {name: digest_files([path]) for name, path in paths.items() if path.exists()}
    return digests | records.digest_splits(root / MANIFEST)
