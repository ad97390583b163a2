"""How many threads, and which of them give way."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

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
