"""A sign of life from the store, asked for before mlflow, which would try again and again, for minutes."""

import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

from cvd.runtime.project import SQLITE, is_local, show_uri, state_folder

PROBE_S = 1.5  # for a server's first answer
LOCK_S = 5.0  # for a database that another process writes to
HOLD_S = 600.0  # a server that hung is left alone this long, by later stages too


class TrackingError(RuntimeError):
    """MLflow cannot be reached or used; the message is one line."""


def probe(uri: str, *, patient: bool) -> None:
    """Asks for a sign of life, quickly.

    Raises:
        TrackingError: nothing listens there, it hung a short while ago, or it is a folder.
        TimeoutError: it accepts and does not answer.
        sqlite3.Error: the file cannot be written, is locked, or is no database.
    """
    if uri.startswith(SQLITE):
        _probe_database(uri.removeprefix(SQLITE))
        return
    if is_local(uri):
        raise TrackingError("MLflow keeps no runs in folders any more: set sqlite:///PATH or http://HOST:PORT")
    held = held_file()
    is_held = held.exists() and held.read_text(encoding="utf-8") == show_uri(uri)
    if is_held and not patient and time.time() - held.stat().st_mtime < HOLD_S:
        raise TrackingError("it did not answer a short while ago")
    if uri.startswith("http"):
        _probe_server(uri, PROBE_S * (4 if patient else 1))
    held.unlink(missing_ok=True)


def _probe_database(path: str) -> None:
    """A database that is there must let itself be written to; one that is not is made."""
    is_uri = path.startswith("file:")
    if is_uri or (Path(path).exists() and path != ":memory:"):
        with closing(sqlite3.connect(path, timeout=LOCK_S, uri=is_uri)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("PRAGMA user_version = 1")  # SQLite sees only now that a file is read-only; undone


def _probe_server(uri: str, timeout_s: float) -> None:
    unchecked = ssl.create_default_context()  # nothing is told; mlflow checks whom it talks to, as it is set
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"{show_uri(uri).rstrip('/')}/health", timeout=timeout_s, context=unchecked):
            pass
    except urllib.error.HTTPError as error:
        error.close()  # any answer is a sign of life
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise TimeoutError("no answer") from error
        raise TrackingError(describe_error(error)) from error


def held_file() -> Path:
    """Names the server that hung lately."""
    return state_folder() / "tracking.held"


def describe_error(error: BaseException) -> str:
    """The first line of what went wrong, short and without passwords."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("(raised ")]  # SQLAlchemy's
    return (show_uri(lines[0])[:200] if lines else "") or type(error).__name__
