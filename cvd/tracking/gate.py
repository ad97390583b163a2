"""The one gate to MLflow: calls go through until one fails or a server's time is used up, then none."""

import pickle
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

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


class Courier:
    """Another process, which opens the store while this one computes, and then does one thing with it.

    MLflow's import and its first look at a database take two seconds of one core. What is handed over is waited for at
    the end; this process does it where the other one failed.
    """

    def __init__(self) -> None:
        # A session of its own: Ctrl-C stops this process alone, which closes the other's input, and that ends it.
        self._process = subprocess.Popen([sys.executable, "-c", SERVE], stdin=subprocess.PIPE, start_new_session=True)
        self._task: partial[object] | None = None

    def __enter__(self) -> Self:
        return self

    def send(self, work: Callable[..., object], **arguments: object) -> None:
        """Hand over a function, of a module, and its arguments; once."""
        self._task = partial(work, **arguments)
        self._tell(self._task)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._task is None:
            self._tell(None)
        if self._process.wait() and self._task is not None and kind is None:
            self._task()

    def _tell(self, task: partial[object] | None) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError), self._process.stdin as pipe:  # its exit status says that it failed
                pickle.dump(task, pipe)


SERVE = "from cvd.tracking.gate import serve; serve()"


def serve() -> None:
    """Open the store, then do what the Courier of another process hands over, if anything."""
    GATE.attempt(lambda store: None)
    with suppress(EOFError):  # that process has gone
        if task := pickle.load(sys.stdin.buffer):
            task()


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
