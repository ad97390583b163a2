"""Where the project, its state and its MLflow store are, from anywhere in it, and what git says of it."""

import os
import re
import subprocess
from pathlib import Path

import yaml

from cvd.runtime.errors import InputError
from cvd.runtime.files import YamlLoader, read_json
from cvd.runtime.vocabulary import CATS_AND_DOGS, Classes, pluralise

SQLITE = "sqlite:///"
# Stages write these: they are no code.
OUTPUTS = ("metrics", "plots", "predictions", "models", "heatmaps", "data", "dvc.lock")


def find_root() -> Path:
    """Find the project that owns the store: $DVC_ROOT (in a temporary copy the parent's), or the nearest with .dvc.

    Raises:
        InputError: the working folder is in no project.
    """
    if given := os.environ.get("DVC_ROOT"):
        return Path(given).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder
    raise InputError(f"{here} is in no project (no .dvc here or above): run this in the project's folder")


def store_uri() -> str:
    """$MLFLOW_TRACKING_URI, else the sqlite file at the root. A relative sqlite path counts from the root too."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or default_uri()
    path = given.removeprefix(SQLITE)
    if path == given or path.startswith(("/", "file:", ":")):
        return given
    return f"{SQLITE}{find_root() / path}"


def default_uri() -> str:
    """The sqlite file at the root."""
    return f"{SQLITE}{find_root() / 'mlflow.db'}"


def show_uri(uri: str) -> str:
    """Remove users and passwords from the addresses in a text."""
    return re.sub(r"//[^/@\s]*@", "//", uri)


def experiment_name() -> str:
    """$MLFLOW_EXPERIMENT_NAME, else the project's two classes: dogs-vs-cats."""
    if given := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        return given
    try:
        classes = read_classes(find_root())
    except InputError:  # before the first split, and in the working folder of no project
        classes = CATS_AND_DOGS
    return "-vs-".join(map(pluralise, reversed(classes)))


def read_classes(folder: Path) -> Classes:
    """Read the names of the two classes in a folder of the project.

    metrics/data.json counts, which the networks there were trained with. Where it is missing, params.yaml does.

    Raises:
        InputError: neither says them.
    """
    path = folder / "metrics/data.json"
    if path.is_file():
        first, second = read_json(path)["splits"]["test"]
        return first, second
    try:
        first, second = yaml.load((folder / "params.yaml").read_text(encoding="utf-8"), YamlLoader)["data"]["classes"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        advice = "`dvc pull metrics/data.json` or `dvc repro split` brings it"
        raise InputError(f"{path}, which names the two classes, is missing: {advice}") from error
    return first, second


def state_folder() -> Path:
    """`.cvd/` at the root, git-ignored: locks, half-done trainings and downloads."""
    folder = find_root() / ".cvd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_local(uri: str) -> bool:
    """True where the store is a file here; a server can be slow, whether it speaks HTTP or SQL."""
    return uri.startswith("sqlite:") or "://" not in uri or uri.startswith("file:")


def ask_git(*arguments: str, root: Path | None = None, given: str = "") -> str:
    """Run git and return its answer, without the last newline; "" without git or a repository, or when git refuses.

    It runs in `root` or the working folder and reads `given`. `.encode(errors="surrogateescape")` gives the very bytes.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, input=given.encode(), capture_output=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n")


def ask_changes() -> str:
    """List the tracked files of code that differ from the commit, as `git status --porcelain` prints them."""
    excluded = (f":(exclude){name}" for name in OUTPUTS)
    return ask_git("status", "--porcelain", "--untracked-files=no", "--", ".", *excluded)
