"""The MLflow store, opened or made, with the experiment in it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.runtime.files import replace_file
from cvd.runtime.locks import hold_lock
from cvd.runtime.project import SQLITE, default_uri, experiment_name, find_root, is_local, state_folder, store_uri
from cvd.tracking.folders import follow_artifacts
from cvd.tracking.view import describe_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Store:
    """An open store and the experiment in it."""

    client: "MlflowClient"
    experiment_id: str
    root: Path


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
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are raised, too


def load_mlflow() -> None:
    """Imports mlflow, quiet."""
    configure_mlflow()
    import mlflow  # noqa: F401

    configure_mlflow()  # its import sets levels of its own


@contextmanager
def lock_store() -> Iterator[None]:
    """One process at a time makes the database and the experiment: MLflow's own start-up races."""
    with hold_lock(state_folder() / "mlflow.lock"):
        yield


def open_store() -> Store:
    """Opens the store and its experiment, making both when missing.

    Raises:
        Exception: whatever mlflow or the database says.
    """
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


def _open_experiment(uri: str, root: Path) -> Store:
    from mlflow import MlflowClient, MlflowException

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(experiment_name())
    if experiment is None:
        try:
            return Store(client, _create_experiment(client, uri, root), root)
        except MlflowException:  # another process was quicker
            experiment = client.get_experiment_by_name(experiment_name())
            if experiment is None:
                raise
    for name, value in describe_experiment().items():
        if name not in experiment.tags:  # somebody made it in another way
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return Store(client, experiment.experiment_id, root)


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
    place: dict[str, Any] = {"artifact_location": (root / "mlartifacts").as_uri()} if is_local(uri) else {}
    return client.create_experiment(experiment_name(), tags=describe_experiment(), **place)
