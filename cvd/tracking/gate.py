"""The one gate to MLflow: calls go through until one fails or a server's time is used up, then none."""

import sqlite3
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from cvd.runtime.errors import InputError
from cvd.runtime.project import SQLITE, is_local, show_uri, state_folder, store_uri
from cvd.tracking.store import LOCK_S, Store, load_mlflow, open_store

T = TypeVar("T")

NOISY = r"(mlflow|sqlalchemy|alembic)\b"  # they warn of matters of their own
BUDGET_S = 8.0  # a server may cost a process this much, all calls together
PROBE_S = 1.5  # for a server's first answer
HOLD_S = 600.0  # a server that hung is left alone this long, by later stages too


class Gate:
    """Let calls through until one fails or their time is used up, then none: one warning, and the stage goes on."""

    def __init__(self) -> None:
        self.is_open = True
        self.spent_s = 0.0
        self.budget_s = BUDGET_S
        self._store: Store | None = None

    def attempt(self, work: Callable[[Store], T], *, patient: bool = False) -> T | None:
        """Do `work` with the open store; None when that failed, now or earlier in this process.

        If `patient`, as `cvd sync` is, there is no limit of time, and a server that hung is asked again. An InputError
        of `work` is then raised.
        """
        if not self.is_open:
            return None
        # Not `catch_warnings`, which is not safe in threads.
        warnings.filterwarnings("ignore", module=NOISY)
        try:
            if self._store is None:
                probe(store_uri(), patient=patient)
                load_mlflow()  # seconds that are not the server's fault
                self._store = self._spend(open_store, patient)
            store = self._store
            return self._spend(lambda: work(store), patient)
        except Exception as error:  # whatever it is, training matters more
            if patient and isinstance(error, InputError):
                raise
            self._close(error)
            return None

    def _spend(self, work: Callable[[], T], patient: bool) -> T:
        """Do `work` within what is left of a server's budget; without limit for files on this machine."""
        if patient or is_local(store_uri()):
            return work()
        begin = time.monotonic()
        try:
            return within(work, max(self.budget_s - self.spent_s, 0.0))
        finally:
            self.spent_s += time.monotonic() - begin

    def _close(self, error: Exception) -> None:
        self.is_open = False
        uri = store_uri()
        fault = f"MLflow at {show_uri(uri)} cannot be used ({describe_error(error)})"
        advice = "going on without it: `cvd sync` sends what is missing later"
        print(f"warning: {fault}; {advice}", file=sys.stderr)
        if isinstance(error, TimeoutError) and not is_local(uri):
            held_file().write_text(show_uri(uri), encoding="utf-8")


GATE = Gate()  # one per process: a dead server is asked once


def within(work: Callable[[], T], seconds: float) -> T:
    """Do `work` in a thread, which is left behind with a TimeoutError when the seconds are over."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # handed to the caller
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([outcome], seconds).done:
        raise TimeoutError("too slow: it has used up its time")
    return outcome.result()


def probe(uri: str, *, patient: bool) -> None:
    """Ask the store for a sign of life, quickly, before mlflow does, which would try again for minutes.

    A TimeoutError means that it accepts and does not answer, any other error that it cannot be used now.
    """
    if uri.startswith(SQLITE):
        _probe_database(uri.removeprefix(SQLITE))
        return
    if is_local(uri):
        raise ConnectionError("MLflow keeps no runs in folders any more: set sqlite:///PATH or http://HOST:PORT")
    held = held_file()
    is_held = held.exists() and held.read_text(encoding="utf-8") == show_uri(uri)
    if is_held and not patient and time.time() - held.stat().st_mtime < HOLD_S:
        raise ConnectionError("it did not answer a short while ago")
    if uri.startswith("http"):
        _probe_server(uri, PROBE_S * (4 if patient else 1))
    held.unlink(missing_ok=True)


def _probe_database(path: str) -> None:
    """Check that a database can be written to; one that is not there is made later."""
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
        raise ConnectionError(describe_error(error)) from error


def held_file() -> Path:
    """The file that names a server that hung a short while ago."""
    return state_folder() / "tracking.held"


def describe_error(error: BaseException) -> str:
    """The first line of what went wrong, short and without passwords."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("(raised ")]  # SQLAlchemy's
    return (show_uri(lines[0])[:200] if lines else "") or type(error).__name__
