"""Locks between processes: a file each. The system releases a lock when the process that holds it ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock if it is free; yields False, and holds nothing, where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    with suppress(Timeout):
        lock.acquire(blocking=False)
    try:
        yield lock.is_locked
    finally:
        lock.release()


@contextmanager
def hold_lock(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock, waiting for another process that has it; `on_wait` is called once before a wait."""
    with try_lock(path) as is_held:
        if is_held:
            yield
            return
    if on_wait:
        on_wait()
    with FileLock(path, thread_local=False):
        yield
