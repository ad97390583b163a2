"""How the sizes stage runs the training: in a folder of its own, told when it fails, ended when the stage ends."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cvd.runtime.errors import InputError
from cvd.runtime.stage import TerminatedError, unwind_when_terminated
from stages import sizes as stage


@pytest.fixture
def run_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs a stage of which this is the code."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)

    def run(code: str) -> None:
        (tmp_path / "stages/stub.py").write_text(f"import os, signal, sys\nfrom pathlib import Path\n{code}\n")
        stage.run_stage_apart("stub", tmp_path / "here", "baseline_half", ["--variant", "v"], {"model": "keras"})

    (tmp_path / "stages/__init__.py").touch()
    return run


def test_stage_runs_in_a_folder_of_its_own(run_stub: Callable[[str], None], tmp_path: Path) -> None:
    run_stub("Path('told').write_text(' '.join(sys.argv[1:]))")
    here = tmp_path / "here"
    wanted = f"--variant v --manifest {here}/manifest.csv --model {here}/baseline_half.keras"
    assert (here / "told").read_text() == wanted


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by signal 9: the system does so where memory runs out"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by signal 11"),
        ("sys.exit(2)", "failed with exit status 2: what it wrote stands above"),
    ],
)
def test_stage_that_fails_is_told_in_one_line(run_stub: Callable[[str], None], code: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        run_stub(code)
    assert str(caught.value) == f"stage stub of baseline_half {message}"


@pytest.mark.parametrize(("name", "error"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", TerminatedError)])
def test_ending_the_stage_ends_the_one_it_runs(
    run_stub: Callable[[str], None], tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    """The stub gets Ctrl-C too, as from a terminal, and then clears up when it is told to end."""
    with pytest.raises(error), unwind_when_terminated():
        run_stub(
            "def clear(*_):\n"
            "    Path('cleared').touch()\n"
            "    sys.exit(143)\n"
            "signal.signal(signal.SIGTERM, clear)\n"
            "os.kill(os.getpid(), signal.SIGINT)\n"
            f"os.kill(os.getppid(), signal.{name})\n"
            "while True: signal.pause()"
        )
    assert (tmp_path / "here/cleared").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
