"""Start `python -m`, `dvc` and `cvd` by a fork of a process that has loaded the libraries.

A pipeline on fourteen tiny images is forty processes, each of which loads TensorFlow or DVC for seconds and works for
less. The server has loaded other people's libraries and nothing of the project, so that a clone runs its own code.
`LAUNCHER` stands for the commands, in a folder at the front of PATH: it hands its arguments, environment and standard
streams over, and ends as the process ends that the server forked.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

COMMANDS = {"python": None, "dvc": "dvc.cli", "cvd": "cvd.cli"}  # each one's module, which has a `main`
LIBRARIES = (
    *("tensorflow", "keras", "pandas", "matplotlib.pyplot", "cv2", "h5py", "pydantic", "jinja2", "tqdm", "mlflow"),
    *("dvc.cli", "dvc.commands.repro", "dvc.repo.experiments"),
)
LAUNCHER = """#!{python} -IS
import json, os, signal, socket, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
if name == "python" and (arguments[:1] not in (["-m"], ["-c"]) or "--multiprocessing-fork" in arguments):
    os.execv("{folder}/python", ["{folder}/python", *arguments])
link = socket.socket(socket.AF_UNIX)
link.connect("{address}")
call = dict(name=name, arguments=arguments, folder=os.getcwd(), environment=dict(os.environ), group=os.getpgrp())
socket.send_fds(link, [b"."], [0, 1, 2])
link.sendall(json.dumps(call).encode())
link.shutdown(socket.SHUT_WR)
status = int(link.recv(16) or 256)
if os.WIFSIGNALED(status):
    os.kill(os.getpid(), os.WTERMSIG(status))  # no handler of Python's is set, but for SIGINT
sys.exit(os.waitstatus_to_exitcode(status))
"""


def start_server(folder: Path) -> subprocess.Popen[bytes]:
    """Start a server, and write the commands that ask it into `folder`. It ends when its standard input is closed."""
    folder.mkdir(parents=True)
    address = folder / "socket"
    for name in COMMANDS:
        text = LAUNCHER.format(python=sys.executable, folder=Path(sys.executable).parent, address=address)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"}
    command = [sys.executable, __file__, str(address)]
    server = subprocess.Popen(command, env=environment | quiet, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while not address.exists():
        assert server.poll() is None, "the server of forks did not start"
        time.sleep(0.05)
    return server


def serve(address: Path) -> None:
    """Fork at each call, until standard input ends."""
    for library in LIBRARIES:
        importlib.import_module(library)
    for name in [name for name in sys.modules if name.split(".")[0] == "cvd"]:
        del sys.modules[name]  # the hook in cvd.pth has repaired DVC with it
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    partial = address.with_suffix(".partial")
    listener.bind(str(partial))
    listener.listen(64)
    partial.rename(address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        link, _ = listener.accept()
        _, streams, _, _ = socket.recv_fds(link, 1, 3)
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(link, streams)
        link.close()
        for stream in streams:
            os.close(stream)


def answer(link: socket.socket, streams: list[int]) -> None:
    """Run the call in a process of its own, and tell its caller how that ended."""
    with link.makefile("rb") as file:
        call = json.load(file)
    if worker := os.fork():
        for stream in (*streams, 0, 1, 2):
            os.close(stream)
        status = os.waitpid(worker, 0)[1]
        with suppress(OSError):  # the caller was killed
            link.sendall(str(status).encode())
        os._exit(0)
    link.close()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    with suppress(PermissionError, ProcessLookupError):  # it may be in a session of its own
        os.setpgid(0, call["group"])
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.executable = str(Path(sys.argv[1]).with_name("python"))  # what it starts is forked too
    os._exit(end(call["name"], call["arguments"]))


def end(name: str, arguments: list[str]) -> int:
    """Run a command and do what Python does at its end, but free no memory: that would copy the server's first."""
    status = 0
    try:
        run_command(name, arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    return status


def run_command(name: str, arguments: list[str]) -> None:
    """Do as Python does with `-m MODULE` and `-c CODE`, or as an installed command does."""
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if module := COMMANDS[name]:
        sys.argv = [name, *arguments]
        sys.exit(importlib.import_module(module).main())
    option, what, *rest = arguments
    sys.path.insert(0, str(Path.cwd()) if option == "-m" else "")
    sys.argv = [option, *rest]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    serve(Path(sys.argv[1]))
