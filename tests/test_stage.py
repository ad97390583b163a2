"""A stage's frame: one writer, errors in one line, exit codes."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvd.errors import InputError
from cvd.stage import lock_stage, run_stage

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)


def raising(error: BaseException) -> None:
    raise error


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
        [sys.executable, "-c", "import time\nfrom cvd.stage import lock_stage\n"
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


def test_tensorflow_starts_in_silence() -> None:
    script = (
        "import sys; from cvd.stage import silence_tensorflow; silence_tensorflow(); import keras;"
        "print('said', file=sys.stderr)"
    )
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stderr == "said\n"
