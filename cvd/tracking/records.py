"""What is known of a run, as plain data: filled while a training goes on, or read from files."""

import contextlib
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from numbers import Real as Number
from pathlib import Path
from typing import Any

from cvd.runtime.experiments import name_experiment
from cvd.runtime.files import hash_file
from cvd.runtime.project import ask_changes, ask_git

MODEL_HASH, MODEL_MD5 = "model.sha256", "model.md5"  # tags of a run; dvc.lock names models by the second
FIGURES, FILES = "metrics.digest.{}", "files.{}"  # tags with the digest of what is in a folder of the run


@dataclass
class RunRecord:
    """A training, or what another stage adds to the run of one."""

    variant: str
    experiment: str  # DVC's name, or `workspace`
    kind: str  # training | evaluation
    start_ms: int  # since 1970, as all times here
    tags: dict[str, str] = field(default_factory=dict)  # origin and stage; MODEL_HASH names the model
    params: dict[str, str] = field(default_factory=dict)  # of the training, flat
    data: dict[str, str] = field(default_factory=dict)  # digests of what the training read, by name
    epochs: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)  # (epoch, time, metrics)
    run_id: str | None = None  # MLflow's, once there is a run
    end_ms: int | None = None  # None while it goes on
    status: str = "RUNNING"  # or FINISHED, FAILED, KILLED
    model: Path | None = None  # the `.keras` file
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)  # final figures, by the stage's folder
    files: dict[str, list[Path]] = field(default_factory=dict)  # by their folder in the run's artifacts

    @property
    def name(self) -> str:
        """EXPERIMENT/VARIANT."""
        return f"{self.experiment}/{self.variant}"

    @property
    def title(self) -> str:
        """What it brings, in words."""
        folders = [*self.files, *self.metrics]
        return "the training" if self.kind == "training" else next((name for name in folders if name), "the figures")

    def digest_results(self) -> dict[str, str]:
        """Tags of a run that has these very figures and files, {} without any: a digest each, by the folder."""
        digests = {FIGURES.format(folder): digest_of(figures) for folder, figures in self.metrics.items()}
        for folder, paths in self.files.items():
            contents = {name: hash_file(path) for name, path in arrange_files(paths).items()}
            digests[FILES.format(folder)] = digest_of(contents)
        return digests


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
    commit = ask_git("rev-parse", "HEAD")
    tags = {
        "dvc.exp_name": name_experiment(),
        "dvc.baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV") or commit or "unknown",
        "git.commit": commit or "unknown",
        "git.dirty": str(bool(ask_changes())).lower() if commit else "unknown",
        "group": name_experiment(),
        "mlflow.source.type": "LOCAL",
    }
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def describe_training(params: Mapping[str, str], data: Mapping[str, str], **others: object) -> dict[str, str]:
    """Tags that name what a training follows from, and those of `others` that are known."""
    tags = {f"data.{name}": digest for name, digest in data.items()}
    tags |= {"params.digest": digest_of(params), "mlflow.source.name": "stages.train"}
    return tags | {name: str(value) for name, value in others.items() if value}


def describe_process(pid: int | None = None) -> dict[str, str]:
    """Tags of this or another process that no later one has, as long as the system has /proc."""
    pid = pid or os.getpid()
    boot = start = "unknown"
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        start = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]  # since boot
    tags = {"pid": str(pid), "started": start, "host": socket.gethostname(), "boot_id": boot}
    return {f"process.{name}": value for name, value in tags.items()}


def is_dead(tags: Mapping[str, str]) -> bool:
    """True where the process that `tags` describe ran on this machine and is gone; in doubt False."""
    if not tags.get("process.pid", "").isdigit() or tags.get("process.host") != socket.gethostname():
        return False
    pid = int(tags["process.pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return not describe_process(pid).items() <= tags.items()
