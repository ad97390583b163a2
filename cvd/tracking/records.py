"""What is known of a run, as plain data: filled while a training goes on, or read from files."""

import csv
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from numbers import Real as Number
from pathlib import Path
from typing import Any

import psutil

from cvd.runtime.errors import InputError
from cvd.runtime.experiments import name_experiment
from cvd.runtime.files import hash_file
from cvd.runtime.project import ask_changes, ask_git
from cvd.runtime.vocabulary import name_classes

MODEL_MD5 = "model.md5"  # tag of a run; dvc.lock names models by it
PART = "part.{}"  # tag with the digest of what is in a folder of the run
MANIFEST = Path("data/manifest.csv")
NUMBERED, UNPAIRED = ("activations", "epochs", "gradcam"), ("comparison", "evaluation", "training")  # folders
SPLITS = {"train": "training", "validation": "validation", "test": "testing"}  # and MLflow's words for them


@dataclass
class Part:
    """What one stage made of a model: a folder of the run's artifacts, and final figures."""

    figures: dict[str, float] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)  # by their name in the folder
    is_inherited: bool = False  # another commit's: it fills what a run lacks and replaces nothing

    def name_images(self, folder: str, variant: str) -> Iterator[tuple[str, int, Path]]:
        """Name pictures alike in every variant, as (key, step, file), for MLflow's image grid.

        A key is FOLDER/NAME; some folders number their images, and VARIANT.png is FOLDER. NAME-epoch-12.png is at step
        12, others are at step 0. Charts have no key: MLflow draws its own.
        """
        pictures = [Path(name) for name in sorted(self.files) if name.endswith(".png") and folder not in UNPAIRED]
        stems = list(dict.fromkeys(name.stem.partition("-epoch-")[0] for name in pictures))
        for name in pictures:
            stem, _, epoch = name.stem.partition("-epoch-")
            own = str(stems.index(stem) + 1) if folder in NUMBERED else re.sub(r"[^\w\-.]", "_", stem, flags=re.ASCII)
            yield folder if stem == variant else f"{folder}/{own}", int(epoch or 0), self.files[name.as_posix()]

    def digest(self) -> str:
        """Twelve digits that stand for figures and files."""
        return digest_of([self.figures, {name: hash_file(path) for name, path in self.files.items()}])


@dataclass
class RunRecord:
    """A training, or what another stage adds to the run of one."""

    variant: str
    experiment: str  # DVC's name, or `workspace`
    kind: str  # training | evaluation
    start_ms: int  # since 1970, as all times here
    tags: dict[str, str] = field(default_factory=dict)  # origin and stage; MODEL_MD5 names the model
    params: dict[str, str] = field(default_factory=dict)  # of the training, flat
    data: dict[str, str] = field(default_factory=dict)  # digests of what the training read, by name
    epochs: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)  # (epoch, time, metrics)
    run_id: str | None = None  # MLflow's, once there is a run
    end_ms: int | None = None  # None while it goes on
    status: str = "RUNNING"  # or FINISHED, FAILED, KILLED
    model: Path | None = None  # the `.keras` file
    classes: tuple[str, str] = ("0", "1")  # their names; a positive logit means the second
    parts: dict[str, Part] = field(default_factory=dict)  # by folder

    @property
    def name(self) -> str:
        """EXPERIMENT/VARIANT."""
        return f"{self.experiment}/{self.variant}"

    def digest_parts(self) -> dict[str, str]:
        """Tags of a run that has these very parts."""
        return {PART.format(folder): part.digest() for folder, part in self.parts.items()}


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def digest_of(value: object) -> str:
    """Twelve hexadecimal digits of a JSON-like value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def arrange_files(files: Sequence[str | Path]) -> dict[str, Path]:
    """Name files as inside a run's folder: relative to their common parent."""
    paths = [Path.cwd() / path for path in files]
    parent = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return {path.relative_to(parent).as_posix(): path for path in paths}


def flatten(nested: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; a list `details`, kept out of DVC's tables, counts as its entries side by side."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if key == "details":
            for entry in value:
                flat |= flatten(entry, separator, prefix)
        else:
            flat |= flatten(value, separator, name + separator) if isinstance(value, Mapping) else {name: value}
    return flat


def name_params(params: Mapping[str, Any], variant: str) -> dict[str, str]:
    """Name the parameters that one variant's training follows from, and no others; `params` are nested or flat.

    The variant's block becomes `variant.*`, so that variants share columns. Digests stand for the data's parameters.
    """
    flat, prefix = flatten(params), f"variants.{variant}."
    block = {name.removeprefix(prefix): value for name, value in flat.items() if name.startswith(prefix)}
    sections = {"seed", "train", "backbone" if block.get("network") == "backbone" else "image"}
    sections |= {"augment"} if block.get("augment") else set()
    named = {name: value for name, value in flat.items() if name.partition(".")[0] in sections}
    named |= {f"variant.{name}": value for name, value in block.items()}
    named.pop("train.memory_share", None)  # dvc.lock has none either
    return {name: str(value) for name, value in named.items()}


def name_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """{"test": {"accuracy": 0.7}} -> {"test/accuracy": 0.7}; only numbers count.

    MLflow refuses other signs in names: `gradcam++` becomes `gradcamplusplus`, any other sign a `_`.
    """
    flat = flatten(metrics, "/").items()
    numbers = {name: float(value) for name, value in flat if isinstance(value, Number) and not isinstance(value, bool)}
    return {re.sub(r"[^\w\-. :/]", "_", name.replace("+", "plus")): value for name, value in numbers.items()}


def arrange_explanations(methods: Mapping[str, Any]) -> dict[str, Any]:
    """Arrange {method: {layer: figures}} for a run, without details; a layer that stands alone loses its name."""
    arranged: dict[str, Any] = {}
    for method, layers in methods.items():
        plain = {layer: {key: figures[key] for key in figures if key != "details"} for layer, figures in layers.items()}
        arranged[method] = next(iter(plain.values())) if len(plain) == 1 else plain
    return {"explanations": arranged}


def complete_epoch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Add `gap_accuracy` (train minus validation) and `gap_loss` (validation minus train)."""
    full = {name: float(value) for name, value in metrics.items() if value is not None}
    if {"accuracy", "val_accuracy"} <= full.keys():
        full["gap_accuracy"] = full["accuracy"] - full["val_accuracy"]
    if {"loss", "val_loss"} <= full.keys():
        full["gap_loss"] = full["val_loss"] - full["loss"]
    return full


@cache
def describe_origin() -> dict[str, str]:
    """Tags that name the experiment and the code."""
    name, commit = name_experiment(), ask_git("rev-parse", "HEAD")
    tags = {
        "dvc.exp_name": name,
        "dvc.baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV") or commit or "unknown",
        "git.commit": commit or "unknown",
        "git.dirty": str(bool(ask_changes())).lower() if commit else "unknown",
        "group": name,
        "mlflow.source.type": "LOCAL",
    }
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def digest_splits(manifest: Path) -> dict[str, str]:
    """Digests of the images of each split and their labels, by the manifest; {} without it."""
    rows = [(row.get("split"), row.get("label"), row.get("sha256")) for row in _read_manifest(manifest)]
    return {split: digest_of([row[1:] for row in rows if row[0] == split]) for split in SPLITS if rows}


def read_classes(manifest: Path) -> tuple[str, str]:
    """The two classes' names, by the folders of their images in the manifest; 0 and 1 where it has not both."""
    rows = _read_manifest(manifest)
    with suppress(InputError):
        return name_classes((row["path"] for row in rows), (int(row["label"]) for row in rows))
    return "0", "1"


def _read_manifest(manifest: Path) -> list[dict[str, str]]:
    if not manifest.is_file():
        return []
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def describe_training(params: Mapping[str, str], data: Mapping[str, str], **others: object) -> dict[str, str]:
    """Tags that name what a training follows from, and those of `others` that are known."""
    tags = {f"data.{name}": digest for name, digest in data.items()}
    plain = {name: value.removesuffix(".0") for name, value in params.items()}  # dvc.lock has 40 for 40.0
    tags |= {"params.digest": digest_of(plain), "mlflow.source.name": "stages.train"}
    return tags | {name: str(value) for name, value in others.items() if value}


def describe_process(pid: int | None = None) -> dict[str, str]:
    """Tags that tell this or another process from later ones of its number."""
    pid, started = pid or os.getpid(), "unknown"
    try:
        started = f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        started = "unknown" if psutil.pid_exists(pid) else "gone"
    return {"process.pid": str(pid), "process.started": started, "process.host": socket.gethostname()}


def is_dead(tags: Mapping[str, str]) -> bool:
    """True where the process that `tags` describe ran on this machine and is gone; in doubt False."""
    pid, started = tags.get("process.pid", ""), tags.get("process.started", "")
    if not pid.isdigit() or tags.get("process.host") != socket.gethostname():
        return False
    now = describe_process(int(pid))["process.started"]
    if now.isdigit() and started.isdigit():
        return abs(int(now) - int(started)) > 60  # the clock may have been set since
    return now == "gone"
