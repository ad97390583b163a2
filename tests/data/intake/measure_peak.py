"""Inspect a zip's members as the stage `split` does, and print the most memory it took in MB: `measure_peak.py ZIP`."""

import gc
import re
import sys
import tempfile
from pathlib import Path

from cvd.data.archives.layouts import Layout
from cvd.data.archives.reading import open_archive
from cvd.data.intake.members import Row, inspect_members


def read_peak() -> int:
    """The most that this process has held; getrusage would give that of the process which started it."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) // 1024


gc.disable()  # what it would free late must be free at once
quarantine: list[Row] = []
before = read_peak()
with open_archive(sys.argv[1]) as members, tempfile.TemporaryFile() as spool:
    n = sum(1 for _ in inspect_members(members, Layout(("cat", "dog")), spool, quarantine, threads=8))
print(n, len(quarantine), before, read_peak())
