"""The project as it stands, on a tiny configuration of drawn images, in a repository of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
VARIANTS = ["baseline", "augmented", "tfrecord", "transfer"]
N_PER_CLASS = 14


def run(*command: str, cwd: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a user types it in that folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "GIT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = kept | {"PATH": path, "DVC_NO_ANALYTICS": "true"} | environment
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


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
        variant["epochs"] = 2
    params["augmentations"] |= {"images": 2, "n_samples": 2}
    params["activations"] |= {"images": 1}
    params["filters"] |= {"n_filters": 4, "size_px": 40, "steps": 2}
    params["gradcam"] |= {"images": 2}
    params["explanations"] |= {"images": 4, "perturbed": 2}
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
