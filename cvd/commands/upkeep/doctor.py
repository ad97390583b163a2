"""`cvd doctor`: find and mend what kills have left behind in a project."""

import sys

from cvd.runtime.bookkeeping.examination import mend_project
from cvd.runtime.bookkeeping.processes import describe_process, find_dvc_processes
from cvd.runtime.errors import InputError
from cvd.runtime.project import find_root


def mend(_: object) -> int:
    """Mend the project and say what was done; 1 where something is left to do, 0 else.

    Raises:
        InputError: a DVC runs here; nothing was touched.
    """
    root = find_root()
    if running := find_dvc_processes(root):
        raise InputError(f"{describe_process(running[0])} runs here: wait for it to end; nothing was touched")
    findings = list(mend_project(root))
    for finding in findings:
        print(finding.text, file=sys.stdout if finding.is_mended else sys.stderr)
    n_left = sum(not finding.is_mended for finding in findings)
    n_mended = len(findings) - n_left
    print(f"{n_mended} mended, {n_left} left to do" if findings else "nothing to mend")
    return int(n_left > 0)
