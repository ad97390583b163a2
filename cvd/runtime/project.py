"""Where the MLflow store is: found from anywhere, temporary copies of experiments included."""

import os
import re
from pathlib import Path

EXPERIMENT = "dogs-vs-cats"
SQLITE = "sqlite:///"


def find_root() -> Path:
    """The repository that owns the store: $DVC_ROOT (the parent's, in temporary copies), or the nearest with .dvc."""
    if given := os.environ.get("DVC_ROOT"):
        return Path(given).resolve()
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)


def store_uri() -> str:
    """$MLFLOW_TRACKING_URI, else the sqlite file at the root. A relative sqlite path counts from the root too."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not given:
        return default_uri()
    path = given.removeprefix(SQLITE)
    if path == given or path.startswith(("/", "file:", ":")):
        return given
    return f"{SQLITE}{find_root() / path}"


def default_uri() -> str:
    """The sqlite file at the root."""
    return f"{SQLITE}{find_root() / 'mlflow.db'}"


def show_uri(uri: str) -> str:
    """An address, or a text with addresses, without users and passwords."""
    return re.sub(r"//[^/@\s]*@", "//", uri)


def experiment_name() -> str:
    """$MLFLOW_EXPERIMENT_NAME, else the project's."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def state_folder() -> Path:
    """`.cvd/` at the root, git-ignored: locks, and what could not be sent."""
    folder = find_root() / ".cvd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_local(uri: str) -> bool:
    """Whether the store is a file here; a server can be slow, whether it speaks HTTP or SQL."""
    return uri.startswith("sqlite:") or "://" not in uri or uri.startswith("file:")
