"""The hook that repairs DVC while Python loads it. `cvd.pth` in the environment calls it at every start of Python.

A guard that a stage or `make` runs is too late: DVC reads its notes before any stage, and people type `dvc` themselves.
So this module loads nothing that Python has not loaded already, and `repairs` only once DVC is imported.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

TYPE_CHECKING = False  # typing is not loaded yet
if TYPE_CHECKING:
    from typing import Any

REPAIRED = ("dvc.rwlock", "dvc.stage.cache", "dvc.utils.serialize._common")


class Finder:
    """Finds the modules of REPAIRED as Python does, and repairs each once it is loaded."""

    @staticmethod
    def find_spec(name: str, path: "Any" = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the usual spec of a module to repair, None for any other."""
        spec = PathFinder.find_spec(name, path, target) if name in REPAIRED else None
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_repair(module: ModuleType) -> None:
                execute(module)
                from cvd.runtime.bookkeeping.repairs import repair_module

                repair_module(module)

            spec.loader.exec_module = execute_and_repair  # type: ignore[method-assign]
        return spec


def watch_imports() -> None:
    """Repair DVC's modules from now on, as they are imported; a second call does nothing."""
    if not is_watching():
        sys.meta_path.insert(0, Finder)


def is_watching() -> bool:
    """Whether DVC's modules are repaired as they are imported; the finder may be an earlier import's."""
    return any(getattr(finder, "__module__", None) == __name__ for finder in sys.meta_path)


def start() -> None:
    """Watch imports, and forget that this package was imported: a logged model brings its own copy of it."""
    watch_imports()
    for name in [name for name in sys.modules if name.split(".")[0] == "cvd"]:
        del sys.modules[name]
