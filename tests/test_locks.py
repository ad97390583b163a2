"""Locks between processes: one holder, others wait or are told; a killed holder's lock is free."""

import signal
import subprocess
import sys
from pathlib import Path

from cvd.runtime.locks import hold_lock, try_lock

HOLD = "import sys, time; from pathlib import Path; from cvd.runtime.locks import hold_lock\n"
HOLD += "with hold_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"


def hold_elsewhere(path: Path) -> "subprocess.Popen[str]":
    """Another process that holds the lock."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_lock_is_held_by_one_process_and_freed_when_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "made/with/its.lock"
    with hold_elsewhere(path) as child:
        with try_lock(path) as is_held:
            assert not is_held
        child.send_signal(signal.SIGKILL)
        child.wait()
    with try_lock(path) as is_held:
        assert is_held


def test_waiting_is_told_once_and_ends_with_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "its.lock"
    told: list[str] = []
    with hold_elsewhere(path) as child:

        def tell() -> None:
            told.append("waiting")
            child.terminate()

        with hold_lock(path, tell):
            assert told == ["waiting"]
    told.clear()
    with hold_lock(path, tell):
        assert not told


def test_text_in_a_lock_file_survives_those_who_try_it(tmp_path: Path) -> None:
    path = tmp_path / "its.lock"
    with hold_elsewhere(path) as child:
        path.write_text("123")
        with try_lock(path):
            pass
        assert path.read_text() == "123"
        child.kill()
