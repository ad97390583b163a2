"""Where a result comes from: code, versions, machine. Nothing here is inside the promise of equal bytes."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from cvd.machine.hardware import read_processor_name
from cvd.runtime.threads import count_cores

PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "opencv-python-headless",
    "scikit-learn",
    "scipy",
    "pandas",
    "matplotlib",
    "dvc",
    "mlflow",
)
# What the pipeline itself writes: it does not make the code another one.
OUTPUTS = ("metrics", "plots", "predictions", "models", "data", "dvc.lock")


def _ask_git(*arguments: str) -> str | None:
    """Git's answer, or None without git or a repository."""
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def describe_code() -> dict[str, str]:
    """`commit` and `date` of the checkout in the working directory, and in `state` whether files differ from it."""
    commit = _ask_git("rev-parse", "HEAD")
    if not commit:
        return {"commit": "", "date": "", "state": "not in a git repository, or nothing committed yet"}
    changed = _ask_git(
        "status", "--porcelain", "--untracked-files=no", "--", ".", *(f":(exclude){name}" for name in OUTPUTS)
    )
    names = [line[2:].strip() for line in (changed or "").splitlines()]
    state = (
        "exactly this commit"
        if not names
        else f"this commit with changes in {', '.join(names[:8])}{' and more' if len(names) > 8 else ''}"
    )
    return {"commit": commit, "date": _ask_git("show", "-s", "--format=%cs", "HEAD") or "", "state": state}


def list_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on; nothing is imported for it."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_machine() -> dict[str, str]:
    """Processor, cores, memory and system, as far as the system tells."""
    found = {"processor": read_processor_name(), "cores": str(count_cores())}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB"
    return found | {"system": f"{platform.system()} {platform.release()}"}
