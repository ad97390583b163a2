"""What every stage does around its work: one lock, quiet libraries, errors in one line."""

import fcntl
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, ModuleType

from cvd.errors import InputError, describe_fault


class TerminatedError(KeyboardInterrupt):
    """The process was told to end (SIGTERM). It unwinds as for Ctrl-C, so that nothing half-written stays."""


@contextmanager
def lock_stage(name: str) -> Iterator[None]:
    """Holds the stage's lock in this working copy, so that no two processes write the same outputs.

    A killed `dvc` can leave its stage running; the lock goes with the process that holds it.

    Raises:
        InputError: another process holds it.
    """
    path = Path(".cvd/locks") / f"{name.replace('/', '_')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise InputError(
                f"stage {name} is still running here as process {pid}: wait for it to end, or stop it with `kill {pid}`"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def run_stage(work: Callable[[], None], name: str) -> None:
    """Runs a stage's work under its lock and leaves the process: 0, 2 for bad input, 130 for Ctrl-C, 143 for `kill`.

    Args:
        work: the stage, its arguments parsed and bound.
        name: the stage's name, for the lock, when DVC does not give one.
    """
    silence_tensorflow()
    with end_in_one_line("nothing half-written is left"), lock_stage(os.environ.get("DVC_STAGE", name)):
        work()


@contextmanager
def end_in_one_line(after_stop: str) -> Iterator[None]:
    """Leaves the process with one line where people can do something about what went wrong; nothing where all is well.

    Args:
        after_stop: what Ctrl-C and `kill` leave behind, for the line.
    """
    try:
        with unwind_when_terminated():
            yield
        return
    except InputError as error:
        line, code = str(error), 2
    except TerminatedError:
        line, code = f"stopped by `kill`; {after_stop}", 143
    except KeyboardInterrupt:
        line, code = f"interrupted; {after_stop}", 130
    except MemoryError:
        line, code = "not enough memory: lower train.memory_share or image.size_px, or end other programs", 2
    except OSError as error:
        fault = describe_fault(error, Path.cwd())
        if fault is None:
            raise
        line, code = fault, 2
    print(f"error: {line}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def unwind_when_terminated() -> Iterator[None]:
    """Turns the first SIGTERM into a TerminatedError, so that whatever is open is closed and cleared."""

    def unwind(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would disturb the clearing
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def silence_tensorflow() -> None:
    """Makes TensorFlow quiet, and its import quicker, whenever it happens after this.

    Objects that are there when it is imported are never garbage collected again (`gc.freeze`).
    Some of its start-up notes are written before its own log level counts, straight to file descriptor 2, so that is
    closed to them while the import lasts. An import that fails still raises.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of the fifth graph: each network has its own
    if "tensorflow" not in sys.modules and not any(isinstance(each, _LightImport) for each in sys.meta_path):
        sys.meta_path.insert(0, _LightImport())


class _LightImport(MetaPathFinder):
    """Finds TensorFlow or Keras, whichever comes first and brings the other, with a loader that runs it light."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in ("tensorflow", "keras"):
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_light(module: ModuleType) -> None:
            with _hide_stderr(), _hide_modules("matplotlib", "sklearn"), _without_garbage_collection():
                load(module)

        spec.loader.exec_module = load_light  # type: ignore[method-assign]
        return spec


@contextmanager
def _hide_modules(*names: str) -> Iterator[None]:
    """As if they were not installed: Keras loads them for wrappers that nothing here uses, a quarter of its import."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python marks a module as absent
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Nearly all that an import makes stays: to look for garbage in it takes a quarter of TensorFlow's import.

    Later collections leave out all objects that are there in the end, older ones too.
    """
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if is_enabled:
            gc.enable()


@contextmanager
def _hide_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
