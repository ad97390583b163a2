"""What every stage does around its work: read its options, hold one lock, end in one line."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from cvd.runtime.errors import InputError, describe_fault
from cvd.runtime.locks import try_lock


class TerminatedError(KeyboardInterrupt):
    """The process was told to end (SIGTERM): it unwinds as for Ctrl-C, so that nothing half-written stays."""


def read_arguments(
    description: str | None, *, names: Sequence[str] = (), paths: Sequence[str] = ()
) -> argparse.Namespace:
    """Parse a stage's options, all of them required: `names` stay text, `paths` become Path."""
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        parser.add_argument(f"--{name}", required=True)
    for path in paths:
        parser.add_argument(f"--{path}", type=Path, required=True)
    return parser.parse_args()


@contextmanager
def lock_stage(name: str) -> Iterator[None]:
    """Hold the stage's lock in this working copy: a killed `dvc` can leave a process that writes the same outputs.

    Raises:
        InputError: another process holds it.
    """
    path = Path(".cvd/locks") / f"{name.replace('/', '_')}.lock"
    with try_lock(path) as is_held:
        if not is_held:
            pid = path.read_text().strip() or "unknown"
            advice = f"wait for it to end, or stop it with `kill {pid}`"
            raise InputError(f"stage {name} is still running here as process {pid}: {advice}")
        path.write_text(str(os.getpid()))
        yield


def run_stage(work: Callable[[], None], name: str, *, holds_lock: bool = True) -> None:
    """Run a stage's work under its lock; exit with 2 and one line for bad input, 130 for Ctrl-C, 143 for `kill`.

    `name` is the stage's where DVC gives none. `holds_lock` is False for a process that only helps one that writes.
    """
    lock = lock_stage(os.environ.get("DVC_STAGE", name)) if holds_lock else nullcontext()
    after_stop = "nothing half-written is left" if holds_lock else "the other processes end as well"
    gc.freeze()  # what imports made stays: the collector need not look at it
    try:
        with _unwind_when_terminated(), lock:
            work()
        return
    except TerminatedError:
        line, code = f"stopped by `kill`; {after_stop}", 143
    except KeyboardInterrupt:
        line, code = f"interrupted; {after_stop}", 130
    except MemoryError:
        line, code = "not enough memory: lower train.memory_share or image.size_px, or end other programs", 2
    except (InputError, OSError) as error:
        fault = describe_fault(error, Path.cwd())
        if fault is None:
            raise
        line, code = fault, 2
    print(f"error: {line}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def _unwind_when_terminated() -> Iterator[None]:
    """Turn the first SIGTERM into a TerminatedError, so that whatever is open is closed and cleared."""

    def unwind(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would disturb the clearing
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
