"""DVC's experiments, as git has them: which model files they hold, and the parameters that made these."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

WORKSPACE = "workspace"  # what is run outside of `dvc exp run`


@dataclass(frozen=True)
class LockedModel:
    """A trained model as a dvc.lock names it; `params` are nested, those of its training stage."""

    md5: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One experiment; `ref` is "" for the workspace."""

    name: str
    ref: str

    @property
    def baseline(self) -> str:
        """The commit that it started from: refs/exps/ab/cdef.../NAME."""
        return "".join(self.ref.split("/")[2:4])

    def describe_code(self) -> dict[str, str]:
        """Tags of the code that made what it holds; {} when that is not known."""
        commit = ask_git("rev-parse", self.ref) if self.ref else ""
        if not commit:
            return {}
        tags = {"git.commit": commit, "mlflow.source.git.commit": commit, "git.dirty": "false"}
        return tags | {"dvc.baseline_rev": self.baseline or commit}


def name_experiment() -> str:
    """DVC's name of the experiment that runs this process; `workspace` outside of `dvc exp run`."""
    return os.environ.get("DVC_EXP_NAME") or WORKSPACE


def ask_git(*arguments: str) -> str:
    """Git's answer, or "" without git or a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def list_experiments() -> list[Experiment]:
    """DVC's experiments in this repository, newest first."""
    refs = ask_git("for-each-ref", "--sort=-creatordate", "--format=%(refname)", "refs/exps").split()
    return [Experiment(ref.split("/", 4)[4], ref) for ref in refs if ref.count("/") >= 4]


def read_lock(ref: str = "") -> dict[str, LockedModel]:
    """The models that a dvc.lock names, by variant: the working file's, or that of a commit."""
    found = {}
    for stage in _read_stages(ref):
        for out in stage.get("outs", ()):
            path = Path(out["path"])
            if path.suffix == ".keras" and "md5" in out:
                found[path.stem] = LockedModel(out["md5"], _nest(stage.get("params", {}).get("params.yaml", {})))
    return found


def list_stale(variant: str) -> list[Path]:
    """Outputs in the working folder that were made of another model of this variant than the one that is there."""
    stages = _read_stages()
    made = {out["path"]: out.get("md5") for stage in stages for out in stage.get("outs", ())}
    stale = []
    for stage in stages:
        own = [dep for dep in stage.get("deps", ()) if Path(dep["path"]).name.split(".")[0] == variant]
        if any(made.get(dep["path"], dep.get("md5")) != dep.get("md5") for dep in own):
            stale += [Path(out["path"]) for out in stage.get("outs", ())]
    return stale


def _read_stages(ref: str = "") -> list[dict[str, Any]]:
    if ref:
        text = ask_git("show", f"{ref}:./dvc.lock")
    else:
        text = Path("dvc.lock").read_text(encoding="utf-8") if Path("dvc.lock").is_file() else ""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
    try:
        return list((yaml.load(text, loader) or {}).get("stages", {}).values())
    except (yaml.YAMLError, AttributeError):
        return []


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def find_experiment(variant: str, md5: str) -> Experiment:
    """The experiment whose dvc.lock names this very model: this process' own, HEAD (the workspace), or the newest."""
    if os.environ.get("DVC_EXP_NAME"):
        return Experiment(name_experiment(), "")
    for experiment in (Experiment(WORKSPACE, "HEAD"), *list_experiments()):
        model = read_lock(experiment.ref).get(variant)
        if model is not None and model.md5 == md5:
            return experiment
    return Experiment(WORKSPACE, "")


def name_applied() -> str:
    """The experiment whose results the working folder holds: its dvc.lock is the same; else the workspace."""
    lock = ask_git("hash-object", "dvc.lock")
    if not lock or lock == ask_git("rev-parse", "HEAD:./dvc.lock"):
        return WORKSPACE
    same = (each.name for each in list_experiments() if ask_git("rev-parse", f"{each.ref}:./dvc.lock") == lock)
    return next(same, WORKSPACE)
