"""Which DVC runs in a project, and since when a process has its number."""

import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil


def find_dvc_processes(root: Path) -> list[psutil.Process]:
    """Find the DVC commands that run in a project, its copies for experiments included; not this process' own ones."""
    root, mine = root.resolve(), {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    running = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError):
            if process.pid not in mine and is_dvc(process) and Path(process.cwd()).is_relative_to(root):
                running.append(process)
    return running


def is_dvc(process: psutil.Process) -> bool:
    """True for `dvc …` and `python -m dvc …`."""
    words = process.cmdline()[:4]
    names = [Path(word).name for word in words[:2]]
    return "dvc" in names or any(pair == ("-m", "dvc") for pair in pairwise(words))


def describe_process(process: psutil.Process) -> str:
    """Name a process by its command and its number."""
    words = process.cmdline()
    start = next((place for place, word in enumerate(words) if Path(word).name == "dvc"), 0)
    return f"`{' '.join(['dvc', *words[start + 1 :]])}` (process {process.pid})"


def has_started_since(pid: int, moment: float) -> bool:
    """True where a process of this number runs that began after the moment, in seconds since 1970."""
    try:
        return bool(psutil.Process(pid).create_time() > moment + 2)  # clocks and file systems round
    except psutil.Error:
        return False
