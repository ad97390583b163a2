"""The MLflow store: where it is, its experiment, and calls that cost little when it is dead."""

import fcntl
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.files import replace_file
from cvd.tracking.view import DESCRIPTION, TAG, describe_view

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "dogs-vs-cats"
PROBE_S = 1.5  # for a server's first answer
HOLD_S = 600.0  # a server that hung is left alone this long, by later stages too


class TrackingError(RuntimeError):
    """MLflow cannot be reached or used; the message is one line."""


@dataclass(frozen=True)
class Store:
    """An open store and the experiment in it."""

    client: "MlflowClient"
    experiment_id: str
    root: Path


def find_root() -> Path:
    """The repository that owns the store: $DVC_ROOT (the parent's, in temporary copies), or the nearest with .dvc."""
    if given := os.environ.get("DVC_ROOT"):
        return Path(given).resolve()
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)


def store_uri() -> str:
    """$MLFLOW_TRACKING_URI, else the sqlite file at the root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{find_root() / 'mlflow.db'}"


def state_folder() -> Path:
    """`.cvd/` at the root, git-ignored: locks, and what could not be sent."""
    folder = find_root() / ".cvd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def configure_mlflow() -> None:
    """Telemetry off, few retries, no chatter. Before mlflow's first import."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def load_mlflow() -> None:
    """Imports mlflow, quiet."""
    configure_mlflow()
    import mlflow  # noqa: F401

    configure_mlflow()  # its import sets levels of its own


def describe_error(error: BaseException) -> str:
    """The first line of what went wrong, short."""
    text = str(error).strip().splitlines()
    return (text[0][:200] if text else "") or type(error).__name__


def is_server(uri: str) -> bool:
    """Whether the store is behind HTTP, not in files here."""
    return uri.startswith(("http://", "https://"))


def held_file() -> Path:
    """Names the server that hung lately."""
    return state_folder() / "tracking.held"


def probe(uri: str, *, patient: bool) -> None:
    """Asks a server for a sign of life, before mlflow is imported; files need not be asked.

    Raises:
        TrackingError: nothing listens there, or it hung a short while ago.
        TimeoutError: it accepts and does not answer.
    """
    if not is_server(uri):
        return
    held = held_file()
    is_held = held.exists() and held.read_text(encoding="utf-8") == uri
    if is_held and not patient and time.time() - held.stat().st_mtime < HOLD_S:
        raise TrackingError("it did not answer a short while ago")
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_S * (4 if patient else 1)):
            pass
    except urllib.error.HTTPError as error:
        error.close()  # any answer is a sign of life
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise TimeoutError("no answer") from error
        raise TrackingError(describe_error(error)) from error
    held.unlink(missing_ok=True)


@contextmanager
def lock_store() -> Iterator[None]:
    """One process at a time makes the database and the experiment: MLflow's own start-up races."""
    with (state_folder() / "mlflow.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def open_store() -> Store:
    """Opens the store and its experiment, making both when missing.

    Raises:
        Exception: whatever mlflow or the database says.
    """
    load_mlflow()
    from mlflow import MlflowClient

    uri, root = store_uri(), find_root()
    with lock_store():
        if uri == f"sqlite:///{root / 'mlflow.db'}" and not (root / "mlflow.db").exists():
            _create_database(root / "mlflow.db")
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return Store(client, experiment.experiment_id, root)
        return Store(client, _create_experiment(client, uri, root), root)


def _create_database(path: Path) -> None:
    """Makes MLflow's tables, whole or not at all, and without a disk flush for each: some 2 s instead of 4 to 20."""
    from mlflow import MlflowClient
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def skip_flushes(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", skip_flushes)
    try:
        with replace_file(path) as partial:
            MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
    finally:
        event.remove(Engine, "connect", skip_flushes)


def _create_experiment(client: "MlflowClient", uri: str, root: Path) -> str:
    # Without a location of its own a local store would put artifacts under the working folder, which may be a
    # temporary copy; a server knows best where its artifacts go.
    place: dict[str, Any] = {} if is_server(uri) else {"artifact_location": (root / "mlartifacts").as_uri()}
    # The kind opens the UI on runs and charts, not on traces of language models.
    tags = {
        "mlflow.note.content": DESCRIPTION,
        "mlflow.experimentKind": "custom_model_development",
        TAG: describe_view(),
    }
    return client.create_experiment(EXPERIMENT, tags=tags, **place)
