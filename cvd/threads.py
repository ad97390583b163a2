"""Threads: how many, and which of them give way, and when."""

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

POLITE, LEAST = 10, 19  # niceness: ten more is a tenth of the weight; no process has more than 19
RUN = 5  # items; of images to augment, half a millisecond


def set_threads(within: int, across: int | None = None) -> None:
    """Limits TensorFlow to so many threads within one operation, and across operations (None: as many).

    Sums are split among the threads of an operation, so their number changes the last bits of a result.

    Raises:
        RuntimeError: TensorFlow has started already, with another number.
    """
    import tensorflow as tf

    config = tf.config.threading
    across = within if across is None else across
    if config.get_intra_op_parallelism_threads() != within:
        config.set_intra_op_parallelism_threads(within)
    if config.get_inter_op_parallelism_threads() != across:
        config.set_inter_op_parallelism_threads(across)


def count_cores() -> int:
    """The cores that this process may run on; a container's share of their time is not looked at."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def give_way() -> None:
    """Lets this thread, for good, interrupt no other, and take a tenth of a core where others want all of it.

    For threads that work ahead of the process' main thread. A second call changes nothing. Without effect but on
    Linux, and where the system forbids it.
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


def yield_between(items: Iterable[T]) -> Iterator[T]:
    """The items; after every fifth, the thread lets others have its core that wait for it.

    For work of a millisecond or more on threads that `give_way`. However polite, such a thread was seen to keep the
    training step waiting for 3 to 4 ms (Linux 6.18). Yielding after every item starved it beside other work: a step of
    `augmented` beside two busy loops took 145 ms instead of 105; after every fifth it took as long as without.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % RUN == 0 and hasattr(os, "sched_yield"):
            os.sched_yield()
