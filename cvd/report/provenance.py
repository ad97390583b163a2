"""Where a result comes from: code, versions, machine. Nothing here is inside the promise of equal bytes."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from cvd.machine.hardware import read_processor_name
from cvd.runtime.threads import count_cores

PACKAGES = (
    "tensorflow", "keras", "numpy", "opencv-python-headless", "scipy", "pandas", "matplotlib", "dvc",
    "mlflow",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """The experiment that the page is about, against the commit that it started from, "" without one."""

    name: str
    baseline: str
    differences: Sequence[str]  # in parameters, data and code, a phrase each
    verdict: Sequence[str]  # what became of each variant that changed
    commands: Sequence[tuple[str, str]]  # that make it again, and what each does, where it says


def describe_code(commit: str, date: str, status: str) -> dict[str, str]:
    """Describe the checkout: its `commit` ("" without one), its date, and the code that differs from it.

    `status` is of the files that count as code, as `git status --porcelain` prints it.
    """
    names = [line[2:].strip() for line in status.splitlines()]
    if not commit:
        state = "not in a git repository, or nothing committed yet"
    elif not names:
        state = "exactly this commit"
    else:
        state = f"this commit with changes in {', '.join(names[:8])}{' and more' if len(names) > 8 else ''}"
    return {"commit": commit, "date": date, "state": state}


def list_versions() -> dict[str, str]:
    """List versions of Python and of the libraries that results depend on; nothing is imported for it."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def describe_machine() -> dict[str, str]:
    """Describe processor, cores, memory and system, as far as the system tells."""
    machine = {"processor": read_processor_name(), "cores": str(count_cores())}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        machine["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB"
    return machine | {"system": f"{platform.system()} {platform.release()}"}
