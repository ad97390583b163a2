"""The one gate to MLflow: calls go through until one fails or a server's time is used up, then none."""

import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import TypeVar

from cvd.runtime.project import is_local, show_uri, store_uri
from cvd.tracking.probes import describe_error, held_file, probe
from cvd.tracking.store import Store, load_mlflow, open_store

T = TypeVar("T")

NOISY = r"(mlflow|sqlalchemy|alembic)\b"  # they warn of matters of their own
BUDGET_S = 8.0  # a server may cost a process this much, all calls together


class Gate:
    """Lets calls through until one fails or their time is used up, then none: one warning, and the stage goes on."""

    def __init__(self) -> None:
        self.is_open = True
        self.spent_s = 0.0
        self._store: Store | None = None

    def attempt(self, work: Callable[[Store], T], *, patient: bool = False) -> T | None:
        """Does `work` with the open store; None when that failed, now or earlier in this process.

        Args:
            work: what to do.
            patient: no limit of time, and no memory of a server that hung (`cvd sync`).
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
            self._close(error)
            return None

    def _spend(self, work: Callable[[], T], patient: bool) -> T:
        """Does `work` within what is left of a server's budget; without limit for files on this machine."""
        if patient or is_local(store_uri()):
            return work()
        begin = time.monotonic()
        try:
            return within(work, max(BUDGET_S - self.spent_s, 0.0))
        finally:
            self.spent_s += time.monotonic() - begin

    def _close(self, error: Exception) -> None:
        self.is_open = False
        uri = store_uri()
        print(
            f"warning: MLflow at {show_uri(uri)} cannot be used ({describe_error(error)}); going on without it: "
            "`cvd sync` sends what is missing later",
            file=sys.stderr,
        )
        if isinstance(error, TimeoutError) and not is_local(uri):
            held_file().write_text(show_uri(uri), encoding="utf-8")


GATE = Gate()  # one per process: a dead server is asked once


def within(work: Callable[[], T], seconds: float) -> T:
    """Does `work` in a thread, which is left behind when the seconds are over.

    Raises:
        TimeoutError: no result in time.
    """
    outcome: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not outcome:
        raise TimeoutError(f"too slow: more than {BUDGET_S:.0f} s in all")
    return outcome[0]
