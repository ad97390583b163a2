"""The MLflow store, opened or made, with the experiment in it."""

import logging
import os
import sqlite3
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.runtime.files import replace_file
from cvd.runtime.locks import hold_lock
from cvd.runtime.project import SQLITE, default_uri, experiment_name, find_root, is_local, state_folder, store_uri
from cvd.runtime.startup import pause_garbage_collection
from cvd.tracking.view import TAG, describe_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_S = 5.0  # how long to wait for a database that another process writes to


@dataclass(frozen=True)
class Store:
    """An open store and the experiment in it."""

    client: "MlflowClient"
    experiment_id: str
    root: Path


ALWAYS = {  # telemetry off, no chatter
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
BY_DEFAULT = {  # few retries, unless the user wants more
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
}


def load_mlflow() -> None:
    """Import mlflow, which reads the environment then, and keep it quiet: its errors are raised, too."""
    os.environ.update(BY_DEFAULT | os.environ | ALWAYS)
    with pause_garbage_collection():
        import mlflow  # noqa: F401
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def lock_store() -> AbstractContextManager[None]:
    """Let one process at a time make the database and the experiment: MLflow's start-up races with itself."""
    return hold_lock(state_folder() / "mlflow.lock")


def open_store() -> Store:
    """Open the store and its experiment, and make both where they are missing."""
    load_mlflow()
    uri, root = store_uri(), find_root()
    # A server sees to that itself, and must not hold up others while it hangs.
    with lock_store() if is_local(uri) else nullcontext():
        path = Path(uri.removeprefix(SQLITE))
        if path.is_absolute() and not path.exists():
            _create_database(path)
        elif uri == default_uri():
            follow_artifacts(path, (root / "mlartifacts").as_uri(), experiment_name())
        return _open_experiment(uri, root)


def follow_artifacts(database: Path, place: str, experiment: str) -> None:
    """Let a database that was moved with its folder find the artifacts at a new place: MLflow keeps full paths."""
    columns = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
    with closing(sqlite3.connect(database, timeout=LOCK_S)) as connection, connection:
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        old = next((row[0] for row in connection.execute(query, (experiment,))), None)
        if old is None or old == place or not old.endswith("/mlartifacts"):
            return
        for table, column in columns:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                (place, len(old) + 1, len(old) + 1, f"{old}/"),
            )


def _open_experiment(uri: str, root: Path) -> Store:
    from mlflow import MlflowClient, MlflowException

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(experiment_name())
    if experiment is None:
        # Without a location of its own a local store would put artifacts under the working folder, which may be a
        # temporary copy; a server knows best where its artifacts go.
        place: dict[str, Any] = {"artifact_location": (root / "mlartifacts").as_uri()} if is_local(uri) else {}
        try:
            return Store(client, client.create_experiment(experiment_name(), tags=describe_experiment(), **place), root)
        except MlflowException:  # another process was quicker
            experiment = client.get_experiment_by_name(experiment_name())
            if experiment is None:
                raise
    for name, value in describe_experiment().items():
        # Somebody made it in another way, or an older version of the project did.
        if name not in experiment.tags or (name == TAG and experiment.tags[name] != value):
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return Store(client, experiment.experiment_id, root)


def _create_database(path: Path) -> None:
    """Make MLflow's tables, whole or not at all, and without a disk flush for each: some 2 s instead of 4 to 20."""
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
