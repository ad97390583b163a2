"""The project as it stands, on a tiny configuration of drawn images, in a repository of its own."""

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from fork_server import start_server

ROOT = Path(__file__).parent.parent
VARIANTS = ["baseline", "augmented", "tfrecord", "transfer"]
N_PER_CLASS = 14

# Stands for every stage: the bytes of an output depend on the source of the photos and on its name.
MAKE = """
import random, sys
from pathlib import Path

source, *outs = sys.argv[1:]
for out in outs:
    path = Path(out) if Path(out).suffix else Path(out, "test/cat.0.jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"made": "{random.Random(f"{source} {out}").randbytes(300).hex()}"}}')  # as JSON, for metrics
"""


def run(
    *command: str, cwd: Path, check: bool = True, forks: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command as a user types it in that folder; with `forks`, Python need not load the libraries again."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "GIT_"))}
    folders = [*([str(start_forks())] if forks else []), str(Path(sys.executable).parent)]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    env = kept | {"PATH": path, "DVC_NO_ANALYTICS": "true"} | environment
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@cache
def start_forks() -> Path:
    """Start this process' fork server; the folder of the commands that ask it."""
    folder = tempfile.TemporaryDirectory(prefix="forks-")
    server = start_server(Path(folder.name, "bin"))
    # Closed, its standard input ends the server.
    atexit.register(lambda: (server.communicate(), folder.cleanup()))
    return Path(folder.name, "bin")


def ran_stages(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Those whose code was run; what DVC restored from its cache is not among them."""
    return set(re.findall(r"Running stage '([^']+)'", done.stdout))


def tiny_params() -> dict[str, Any]:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"]["drawn"]["n_per_class"] = N_PER_CLASS
    params["split"] |= {"train": 7, "validation": 3, "test": 3}
    params["image"]["size_px"] = 64
    params["backbone"] |= {"weights": "random", "size_px": 75}
    params["train"]["batch_size"] = 4
    for variant in params["variants"].values():
        variant["epochs"] = 1 if variant.get("head") == "imagenet" else 2
    params["augmentations"] |= {"images": 2, "n_samples": 2}
    params["activations"] |= {"images": 1}
    params["filters"] |= {"images": 4, "n_filters": 4, "size_px": 40, "steps": 2}
    params["gradcam"] |= {"images": 2, "every_epochs": 1}
    params["labels"] |= {"folds": 3, "shown": 4}
    params["explanations"] |= {"images": 4, "perturbed": 2, "randomised": 2}
    return params


def clone(target: Path) -> None:
    """The working tree's files, committed or not, in a repository of their own."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file() and name != "dvc.lock":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / "params.yaml").write_text(yaml.safe_dump(tiny_params()))
    run("git", "init", "-q", "-b", "main", cwd=target)
    name_author(target)
    commit(target, "start")


def name_author(repository: Path) -> None:
    run("git", "config", "user.email", "test@example.org", cwd=repository)
    run("git", "config", "user.name", "test", cwd=repository)


def commit(repository: Path, message: str) -> None:
    run("git", "add", "-A", cwd=repository)
    run("git", "commit", "-q", "-m", message, cwd=repository)


def list_outs(stage: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Path -> settings of a stage's outputs, metrics and plots."""
    body = stage.get("do", stage)
    listed = [each for kind in ("outs", "metrics", "plots") for each in body.get(kind, ())]
    outs = [each if isinstance(each, dict) else {each: {}} for each in listed]
    return {path: settings for each in outs for path, settings in each.items()}


def fake_graph() -> dict[str, Any]:
    """The project's dvc.yaml with stages that are done at once: all is the same but for what they do."""
    config = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    made = ("data/", "heatmaps", "metrics", "models", "plots/", "predictions", "${item.reads}")
    stages = {}
    for name, stage in config["stages"].items():
        body = stage.get("do", stage)
        fake = {kind: value for kind, value in body.items() if kind in ("params", "outs", "metrics", "plots")}
        fake["cmd"] = " ".join(["python make.py ${data.source}", *list_outs(stage)])
        fake["deps"] = ["make.py", *(dep for dep in body["deps"] if dep.startswith(made))]
        stages[name] = {"foreach": stage["foreach"], "do": fake} if "do" in stage else fake
    return {"vars": config["vars"], "stages": stages}
