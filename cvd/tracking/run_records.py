"""What is known of a run, as plain data: filled while it goes on, or read from files."""

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

from cvd.runtime.dvc_files import ask_git, name_experiment
from cvd.runtime.files import hash_file

NO_RESULT = ("train.memory_share",)  # dvc.lock has none of these either
# Stages write these; they do not make a tree dirty.
OUTPUTS = ("metrics", "plots", "predictions", "models", "data", "dvc.lock")


@dataclass
class Record:
    """One run. Times are milliseconds since 1970; `epochs` holds (epoch, time, metrics), `files` those of a folder."""

    variant: str
    experiment: str
    kind: str  # training | evaluation
    start_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    epochs: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)
    run_id: str | None = None
    end_ms: int | None = None
    status: str = "RUNNING"
    model: Path | None = None
    files: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """EXPERIMENT/VARIANT."""
        return f"{self.experiment}/{self.variant}"


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def hash_data(path: str | Path) -> str:
    """The digest of a file or a folder by names and contents, as the training stage gives it."""
    digest, path = hashlib.sha256(), Path(path)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path.parent).as_posix()} {hash_file(file)}\n".encode())
    return digest.hexdigest()


def arrange_files(files: Sequence[str | Path]) -> dict[str, Path]:
    """Names inside a run's folder: relative to the files' common parent."""
    paths = [Path.cwd() / path for path in files]
    parent = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return {path.relative_to(parent).as_posix(): path for path in paths}


def digest_files(files: Sequence[str | Path]) -> str:
    """Names and contents in one digest."""
    return digest_of({name: hash_file(path) for name, path in arrange_files(files).items()})


def digest_of(value: object) -> str:
    """Twelve hexadecimal digits of a JSON-like value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def flatten(nested: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists and other leaves stay."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, separator, name + separator) if isinstance(value, Mapping) else {name: value}
    return flat


def name_params(params: Mapping[str, Any], variant: str) -> dict[str, str]:
    """Flattened parameters that one variant's training stage follows from, and no others.

    The variant's own block becomes `variant.*`, so that variants share columns. How the data came about is not among
    them: it may have been changed since without being carried out, and the data's digests say which data they were.
    """
    own = params.get("variants", {}).get(variant, {})
    sections = ["seed", "train", "backbone" if own.get("network") == "backbone" else "image"]
    sections += ["augment"] * bool(own.get("augment"))
    kept = {name: params[name] for name in sections if name in params} | {"variant": own}
    return {name: str(value) for name, value in flatten(kept).items() if name not in NO_RESULT}


def name_digest(folder: str) -> str:
    """The tag with the digest of the figures that a stage added, by its folder of the run's artifacts."""
    return f"metrics.digest.{folder}"


def name_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """{"test": {"accuracy": 0.7}} -> {"test/accuracy": 0.7}; what is not a number is left out.

    The entry of a list `details` counts as if it stood outside: the list only keeps it out of DVC's tables. MLflow
    refuses names with other signs: `gradcam++` becomes `gradcamplusplus`, and what else there may be a `_`.
    """
    flat = flatten(_open_details(metrics), "/").items()
    numbers = {name: float(value) for name, value in flat if isinstance(value, Number) and not isinstance(value, bool)}
    return {re.sub(r"[^\w\-. :/]", "_", name.replace("+", "plus")): value for name, value in numbers.items()}


def arrange_explanations(methods: Mapping[str, Any]) -> dict[str, Any]:
    """A variant's part of metrics/explanations.json as it goes into a run, under names that all variants share.

    Args:
        methods: {method: {layer: figures}}; a layer that stands alone loses its name, and details are left out.
    """
    figures = {name: next(iter(layers.values())) if len(layers) == 1 else layers for name, layers in methods.items()}
    return {"explanations": _drop_details(figures)}


def _drop_details(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _drop_details(value) if isinstance(value, Mapping) else value
        for name, value in figures.items()
        if name != "details"
    }


def _open_details(metrics: Mapping[str, Any]) -> dict[str, Any]:
    opened: dict[str, Any] = {}
    for name, value in metrics.items():
        if name == "details":
            for entry in value:
                opened |= entry
        else:
            opened[name] = _open_details(value) if isinstance(value, Mapping) else value
    return opened


def complete_epoch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Adds `gap_accuracy` (train minus validation) and `gap_loss` (validation minus train)."""
    full = {name: float(value) for name, value in metrics.items() if value is not None}
    if {"accuracy", "val_accuracy"} <= full.keys():
        full["gap_accuracy"] = full["accuracy"] - full["val_accuracy"]
    if {"loss", "val_loss"} <= full.keys():
        full["gap_loss"] = full["val_loss"] - full["loss"]
    return full


@cache
def describe_origin() -> dict[str, str]:
    """Tags saying which experiment and which code."""
    commit = ask_git("rev-parse", "HEAD")
    ignored = [f":(exclude){name}" for name in OUTPUTS]
    changed = ask_git("status", "--porcelain", "--untracked-files=no", "--", ".", *ignored)
    tags = {
        "dvc.exp_name": name_experiment(),
        "dvc.baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV") or commit or "unknown",
        "git.commit": commit or "unknown",
        "git.dirty": str(bool(changed)).lower() if commit else "unknown",
        "group": name_experiment(),
        "mlflow.source.type": "LOCAL",
    }
    if commit:
        tags["mlflow.source.git.commit"] = commit
    return tags


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


def _started(pid: int) -> str:
    """When the process started, in ticks since boot: a later process may have the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return "unknown"


def describe_process() -> dict[str, str]:
    """Tags by which a later start can tell whether this process is alive."""
    pid = os.getpid()
    return {
        "process.pid": str(pid),
        "process.started": _started(pid),
        "process.host": socket.gethostname(),
        "process.boot_id": _boot_id(),
    }


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process described by `tags` ran on this machine and is gone; in doubt, False."""
    if not tags.get("process.pid", "").isdigit() or tags.get("process.host") != socket.gethostname():
        return False
    if tags.get("process.boot_id") != _boot_id():
        return True
    pid = int(tags["process.pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _started(pid) != tags.get("process.started")
