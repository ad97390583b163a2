"""How many threads, which of them give way, and work spread over them in order."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from cvd.runtime import threads


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_only_the_cores_that_the_process_may_use_count() -> None:
    allowed = os.sched_getaffinity(0)
    assert threads.count_cores() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert threads.count_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def find_priority() -> tuple[int, int]:
    return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_a_thread_that_gives_way_stands_behind_the_main_thread_and_twice_is_as_once() -> None:
    scheduler, niceness = find_priority()
    if scheduler != os.SCHED_OTHER:
        pytest.skip("runs under a scheduler of its own")

    def give_way_twice() -> list[tuple[int, int]]:
        seen = []
        for _ in range(2):
            threads.give_way()
            seen.append(find_priority())
        return seen

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(give_way_twice).result()
    assert found == 2 * [(os.SCHED_BATCH, min(niceness + threads.POLITE, threads.LEAST))]
    assert find_priority() == (scheduler, niceness)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_a_system_that_forbids_to_give_way_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = find_priority()
    monkeypatch.setattr(os, "setpriority", refuse)
    threads.give_way()
    assert find_priority() == before


def test_all_items_pass_and_the_core_is_offered_after_every_fifth(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[int | str] = []
    monkeypatch.setattr(os, "sched_yield", lambda: events.append("yield"))
    for item in threads.yield_between(iter(range(12))):
        events.append(item)
    assert events == [0, 1, 2, 3, 4, "yield", 5, 6, 7, 8, 9, "yield", 10, 11]


def test_results_come_in_order_from_threads_that_were_prepared() -> None:
    prepared: list[int] = []
    work = threads.map_ahead(
        lambda n: (time.sleep(0.002 * (n % 3)), n * n)[1],
        range(30),
        n_ahead=4,
        n_threads=3,
        initializer=lambda: prepared.append(threading.get_native_id()),
    )
    assert list(work) == [n * n for n in range(30)]
    assert 1 <= len(set(prepared)) <= 3


def test_no_more_items_are_read_ahead_than_asked_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(20):
            taken.append(n)
            yield n

    results = threads.map_ahead(lambda n: n, items(), n_ahead=3, n_threads=2)
    for n in results:
        assert len(taken) <= n + 4
    assert len(taken) == 20


def test_what_fails_is_raised_in_its_turn_and_cancels_the_rest() -> None:
    started: list[int] = []

    def work(n: int) -> int:
        started.append(n)
        if n == 2:
            raise KeyError(n)
        return n

    results = threads.map_ahead(work, range(1000), n_ahead=4, n_threads=1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)
    assert max(started) < 10


def test_workers_end_with_a_killed_parent() -> None:
    """A pool's workers hold both ends of its queue: without the watch they wait forever."""
    script = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from cvd.runtime.threads import end_with_parent
pool = ProcessPoolExecutor(1, initializer=end_with_parent)
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(60)
"""
    root = Path(__file__).parent.parent
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    assert worker.is_running()
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
