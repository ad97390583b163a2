"""Kill processes that write DVC's notes, and look at what they leave: `killed_writers.py FOLDER N whole|plain KIND`."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

folder, n, is_whole, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "whole", sys.argv[4]
if is_whole:
    from cvd.runtime.bookkeeping.loading import watch_imports

    watch_imports()
else:  # nor by the environment's start
    sys.meta_path = [finder for finder in sys.meta_path if getattr(finder, "__module__", "").split(".")[0] != "cvd"]

from dvc import rwlock  # noqa: E402
from dvc.fs import localfs  # noqa: E402
from dvc.utils.serialize import dump_yaml, load_yaml  # noqa: E402

STAGES = {
    "schema": "2.0",
    "stages": {f"stage{i}": {"cmd": f"python {i}", "outs": [{"path": str(i)}]} for i in range(9)},
}


def write() -> None:
    while True:
        if kind == "rwlock":
            with rwlock.rwlock(str(folder), localfs, "dvc repro", ["a" * 500], ["b" * 500], False):
                pass
        else:
            dump_yaml(str(folder / "dvc.lock"), STAGES)


def is_damaged() -> bool:
    try:
        if kind != "rwlock":
            return bool(load_yaml(str(folder / "dvc.lock")) != STAGES)
        text = (folder / "rwlock").read_text()
        json.loads(text)
    except (ValueError, OSError, rwlock.DvcException):
        return True
    return False


dump_yaml(str(folder / "dvc.lock"), STAGES)
(folder / "rwlock").write_text("{}")
rng, n_damaged = random.Random(1), 0
for _ in range(n):
    pid = os.fork()
    if not pid:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
        write()
    time.sleep(rng.uniform(0, 0.03))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if is_damaged():
        n_damaged += 1
        (folder / "rwlock").write_text("{}")
        dump_yaml(str(folder / "dvc.lock"), STAGES)
print(n_damaged)
