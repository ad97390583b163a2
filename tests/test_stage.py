"""A stage's frame: one writer, errors in one line, exit codes."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cvd.runtime.errors import InputError
from cvd.runtime.stage import lock_stage, read_arguments, run_stage

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)


def raising(error: BaseException) -> None:
    raise error


def test_arguments_are_text_and_paths_and_all_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", "--variant", "small", "--data-folder", "a/b"])
    args = read_arguments("A stage.", names=("variant",), paths=("data-folder",))
    assert (args.variant, args.data_folder) == ("small", Path("a/b"))
    with pytest.raises(SystemExit) as caught:
        read_arguments("A stage.", names=("variant",), paths=("data-folder", "out"))
    assert caught.value.code == 2


def test_bad_input_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_stage(lambda: raising(InputError("data.path 'x': no such file")), "download")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: data.path 'x': no such file\n"


def test_interruption_and_a_full_disk_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_stage(lambda: raising(KeyboardInterrupt()), "train")
    assert caught.value.code == 130
    with pytest.raises(SystemExit) as caught:
        run_stage(lambda: raising(OSError(errno.ENOSPC, "No space left on device", "data/images")), "split")
    assert caught.value.code == 2
    assert "disk is full at data/images" in capsys.readouterr().err


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_stage(lambda: raising(ZeroDivisionError()), "train")


def test_a_second_writer_is_refused_until_the_first_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", "import time\nfrom cvd.runtime.stage import lock_stage\n"
         "with lock_stage('train@x'):\n    print('held', flush=True)\n    time.sleep(60)"],
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    message = rf"train@x is still running here as process {holder.pid}"
    with pytest.raises(InputError, match=message), lock_stage("train@x"):
        pass
    with lock_stage("train@y"):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with lock_stage("train@x"):
        pass


def test_kill_unwinds_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from cvd.runtime.files import replace_file, replace_folder\nfrom cvd.runtime.stage import run_stage\n"
        "def work():\n"
        "    with replace_file('out.csv') as file, replace_folder('out') as folder:\n"
        "        file.write_text('half'), (folder / 'half').touch()\n"
        "        print('held', flush=True)\n        time.sleep(60)\n"
        "run_stage(work, 'train@x')"
    )
    (tmp_path / "out.csv").write_text("old")
    stage = subprocess.Popen(
        [sys.executable, "-c", script], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert stage.stdout is not None
    assert stage.stdout.readline() == "held\n"
    assert (tmp_path / ".out.csv.partial").exists()
    stage.terminate()
    _, errors = stage.communicate(timeout=20)
    assert stage.returncode == 143
    assert errors == "error: stopped by `kill`; nothing half-written is left\n"
    assert [path.name for path in tmp_path.iterdir() if path.name != ".cvd"] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOSPC, "the disk is full at models/a.keras: free some space and run again"),
        (errno.EDQUOT, "the disk is full at models/a.keras: free some space and run again"),
        (errno.EACCES, "models/a.keras cannot be used (Permission denied): check its owner"),
        (errno.EROFS, "models/a.keras cannot be used (Read-only file system): check its owner"),
    ],
)
def test_disks_that_take_nothing_are_one_line(number: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise OSError(number, os.strerror(number), "models/a.keras")

    with pytest.raises(SystemExit) as caught:
        run_stage(work, "train@x")
    assert caught.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {line}")


def test_memory_that_runs_out_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise MemoryError

    with pytest.raises(SystemExit) as caught:
        run_stage(work, "features")
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: not enough memory: lower train.memory_share")


def test_other_errors_of_the_system_go_on_upwards() -> None:
    def work() -> None:
        raise OSError(errno.EIO, "Input/output error", "models/a.keras")

    with pytest.raises(OSError, match="Input/output error"):
        run_stage(work, "train@x")


def test_the_handler_of_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_stage(lambda: None, "train@x")
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(SystemExit) as caught:
        run_stage(lambda: os.kill(os.getpid(), signal.SIGTERM), "train@x")
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
