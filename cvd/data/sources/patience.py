"""How long a download may take, and how slowly it may come; whether the disk has room for it."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import requests

from cvd.data.sources.partials import Partial, UnfinishedError
from cvd.data.sources.replies import PassingError
from cvd.runtime.errors import InputError

T = TypeVar("T")

_SPARE_BYTES = 64 * 2**20  # that stay free on the disk


class SlowError(PassingError):
    """Something comes, but too slowly."""


@dataclass(frozen=True)
class Patience:
    """How long to hold out."""

    tries: int = 6  # in a row without a new byte, or too slow, at most
    connect_seconds: float = 10
    read_seconds: float = 20  # for the headers, and for the next bytes
    least_rate: int = 1000  # bytes a second, over `read_seconds`
    idle_seconds: float = 80  # of tries without a good one: no new try begins after that
    total_seconds: float = 24 * 3600
    wait: Callable[[float], object] = time.sleep


class Pace:
    """Watches how fast a reply's bytes come."""

    def __init__(self, patience: Patience, n_bytes: int, end: float) -> None:
        self._patience, self._n_bytes, self._end = patience, n_bytes, end
        self._began = time.monotonic()

    def check(self, n_bytes: int) -> None:
        """Raise SlowError below the least rate since the last check, UnfinishedError at the end of all time."""
        now = time.monotonic()
        if (seconds := now - self._began) < self._patience.read_seconds:
            return
        if (n_bytes - self._n_bytes) / seconds < self._patience.least_rate:
            raise SlowError(f"fewer than {self._patience.least_rate:,} bytes a second came")
        if now > self._end:
            raise UnfinishedError(
                f"the download took {self._patience.total_seconds / 3600:,.0f} hours: run again to go on"
            )
        self._began, self._n_bytes = now, n_bytes


def call_within(seconds: float, work: Callable[[], T], on_timeout: Callable[[], None] = lambda: None) -> T:
    """Return what `work` does on a thread of its own; SlowError where it is not done in time.

    A socket's own limit starts again with each byte, so that single bytes, a header or a chunk of them, never end.
    """
    outcome: list[T | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    except BaseException:  # Ctrl-C: what is open is closed next, which would wait for the thread
        on_timeout()
        raise
    if not outcome:
        on_timeout()
        raise SlowError("the server does not come to an end of its headers, or of a piece")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def hang_up(reply: requests.Response) -> None:
    """End a connection that another thread reads from; closing it would wait for that thread."""
    with suppress(OSError, ValueError), socket.socket(fileno=os.dup(reply.raw.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def check_room(name: str, n_bytes: int, partial: Partial) -> None:
    """Refuse to fetch what the disk has no room for."""
    folder = partial.path.parent
    free = shutil.disk_usage(folder).free
    if n_bytes + _SPARE_BYTES > free:
        raise UnfinishedError(
            f"{name} has {n_bytes / 1e6:,.0f} MB to fetch, but {folder.resolve()} has only "
            f"{free / 1e6:,.0f} MB free: free some space and run again"
        )


def check_endless(name: str, partial: Partial) -> None:
    """Watch the disk where the server says no length: what would fill it is not kept."""
    folder = partial.path.parent
    if shutil.disk_usage(folder).free < _SPARE_BYTES:
        n_bytes = partial.n_bytes
        raise InputError(
            f"{name} says no size, and {n_bytes / 1e6:,.0f} MB of it fill the disk at "
            f"{folder.resolve()}: nothing of it is kept"
        )
