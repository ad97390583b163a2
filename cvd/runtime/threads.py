"""Threads: how many, which of them yield to others, and work spread over them in order."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

POLITE, LEAST = 10, 19  # niceness: ten more is a tenth of the weight; no process has more than 19
RUN = 5  # items; of images to augment, half a millisecond


def count_cores() -> int:
    """The cores that this process may run on; a container's share of their time is not looked at."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def give_way() -> None:
    """Lower this thread's priority permanently so that it never preempts the training step.

    For threads that work ahead of the process' main thread. A second call changes nothing. It has no effect where the
    system is not Linux, or forbids it.
    """
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    niceness = min(LEAST, os.getpriority(os.PRIO_PROCESS, os.getpid()) + POLITE)
    with suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, thread) < niceness:
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def end_with_parent() -> None:
    """End this process soon after the one that started it, which `kill -9` gives no time to end its workers."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def yield_between(items: Iterable[T]) -> Iterator[T]:
    """Yield the items; after every fifth, offer the core to threads that wait for it.

    For work of a millisecond or more on threads that `give_way`: without this the training step waited for 3 to 4 ms
    (Linux 6.18). After every item it starved them: a step of `augmented` beside two busy loops took 145 ms, not 105.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % RUN == 0 and hasattr(os, "sched_yield"):
            os.sched_yield()


def map_ahead(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    n_ahead: int,
    n_threads: int | None = None,
    initializer: Callable[[], None] | None = None,
    weigh: Callable[[T], int] = lambda item: 1,
) -> Iterator[R]:
    """Yield `work(item)` of each item, in order, computed on threads ahead of the reader.

    Args:
        work: called once for each item; what it raises is raised when the item's turn comes.
        items: read in the caller's thread, `n_ahead` of them before their result is asked for.
        n_ahead: how many items may wait, or their weight together, which bounds the memory.
        n_threads: None: one for each core.
        initializer: called once in each thread, such as `give_way`.
        weigh: gives an item's weight, at least 1, where large ones count more.
    """
    with ThreadPoolExecutor(n_threads or count_cores(), initializer=initializer) as pool:
        waiting: deque[tuple[Future[R], int]] = deque()
        try:
            for item in items:
                waiting.append((pool.submit(work, item), weigh(item)))
                while sum(weight for _, weight in waiting) > n_ahead:
                    yield waiting.popleft()[0].result()
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
