"""Results are results: two clones give the same lock file, and a training ends in the same bits whatever befalls it."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_project
import yaml
from test_distribution import find_ports, make_config

pytestmark = pytest.mark.pipeline

# Times, hardware and dates are in these files alone, and in the folders of some: there all else is compared as outputs.
MAY_DIFFER = re.compile(
    r"data/raw\.json|models/\w+\.timing\.json|metrics/timings\.json|plots/report\.html|models|metrics"
)
OUTPUTS = [
    f"models/tfrecord.{ending}" for ending in ("keras", "history.csv", "training.json", "layers.md", "checkpoints.npz")
]
EPOCHS = 5

# Loaded by Python at its start. At the n-th write through to the disk, the process is killed, or the disk is full. Each
# epoch writes through a file and its folder, two or three times: a checkpoint, the best weights and the state.
FAULT = """
import errno, os, signal
count, write_through = 0, os.fsync
def fsync(descriptor):
    global count
    count += 1
    if count == int(os.environ["AT_WRITE"]):
        if os.environ["FAULT"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "No space left on device", "state.npz")
    write_through(descriptor)
os.fsync = fsync
"""


def read_digests(project: Path) -> dict[str, dict[str, Any]]:
    """Read what dvc.lock says of each stage, but for the files that may differ."""
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    records = {}
    for name, stage in stages.items():
        files = [(kind, entry) for kind in ("deps", "outs") for entry in stage.get(kind, [])]
        digests = {
            f"{kind} {entry['path']}": entry["md5"] for kind, entry in files if not MAY_DIFFER.fullmatch(entry["path"])
        }
        records[name] = {"cmd": stage["cmd"], "params": stage.get("params"), **digests}
    return records


def test_two_clones_give_the_same_lock_file(second_clone: Path, prepared: Path) -> None:
    one, other = read_digests(prepared), read_digests(second_clone)
    assert set(one) == set(other)
    assert sum(entry.endswith(".keras") for stage in one.values() for entry in stage) >= len(tiny_project.VARIANTS)
    for name in one:
        assert one[name] == other[name], name


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With more epochs to be killed in."""
    folder = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("trained") / "project", symlinks=True))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["variants"]["tfrecord"] |= {"epochs": EPOCHS, "keep": "best"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    fault = folder.parent / "fault"
    fault.mkdir()
    (fault / "sitecustomize.py").write_text(FAULT)
    return folder


@pytest.fixture(scope="module")
def undisturbed(project: Path) -> dict[str, bytes]:
    assert finish(start(project))[0] == 0
    return {name: (project / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(autouse=True)
def _begin_anew(project: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """As DVC does: no outputs of an earlier run; and what a test breaks is not the next one's trouble."""
    if "undisturbed" in request.fixturenames:
        request.getfixturevalue("undisturbed")
        for name in [*OUTPUTS, "models/tfrecord.timing.json"]:
            (project / name).unlink(missing_ok=True)
    yield
    shutil.rmtree(project / ".cvd/training", ignore_errors=True)


def start(project: Path, **environment: str) -> subprocess.Popen[str]:
    """The training, as DVC starts it."""
    entry = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["train@tfrecord"]
    ours = ("DVC_", "MLFLOW_", "TF_CONFIG")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    if environment.get("FAULT"):
        inherited["PYTHONPATH"] = str(project.parent / "fault")
    return subprocess.Popen(
        [sys.executable, *shlex.split(entry["cmd"])[1:]],
        cwd=project,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=900)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.startswith(f"epoch {epoch}/"):
            return
    raise AssertionError(f"no epoch {epoch}: {finish(process)}")


def assert_ends_in_the_same_bits(project: Path, undisturbed: dict[str, bytes]) -> str:
    code, out, err = finish(start(project))
    assert code == 0, err
    assert {name: (project / name).read_bytes() for name in OUTPUTS} == undisturbed
    assert not list((project / ".cvd/training").iterdir()), "the state is to go away"
    assert not list(project.rglob("*.partial"))
    return out


def test_killed_again_and_again_it_ends_in_the_same_bits(project: Path, undisturbed: dict[str, bytes]) -> None:
    chance = random.Random(5)
    for epoch in (1, 3):
        process = start(project)
        wait_for_epoch(process, epoch)
        time.sleep(chance.random() / 20)
        process.kill()
        assert finish(process)[0] == -signal.SIGKILL
    assert "resuming after epoch" in assert_ends_in_the_same_bits(project, undisturbed)


@pytest.mark.parametrize("n_write", [1, 7, 9])
def test_killed_while_it_writes_its_state(project: Path, undisturbed: dict[str, bytes], n_write: int) -> None:
    assert finish(start(project, FAULT="kill", AT_WRITE=str(n_write)))[0] == -signal.SIGKILL
    resumed = "resuming after epoch" in assert_ends_in_the_same_bits(project, undisturbed)
    assert resumed == (n_write > 1)


def test_ctrl_c_ends_cleanly(project: Path, undisturbed: dict[str, bytes]) -> None:
    process = start(project)
    wait_for_epoch(process, 2)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130
    assert err.splitlines() == ["error: interrupted; nothing half-written is left"]
    assert "the finished epochs are kept" in out
    assert not [name for name in OUTPUTS if (project / name).exists()]
    assert "resuming after epoch" in assert_ends_in_the_same_bits(project, undisturbed)


def test_full_disk_is_one_line_and_space_mends_it(project: Path, undisturbed: dict[str, bytes]) -> None:
    code, _, err = finish(start(project, FAULT="full", AT_WRITE="9"))
    assert code == 2
    assert err.splitlines() == ["error: the disk is full at state.npz: free some space and run again"]
    assert not list(project.rglob("*.partial"))
    assert "resuming after epoch" in assert_ends_in_the_same_bits(project, undisturbed)


def test_only_the_chief_writes(prepared: Path, project: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """Two workers with a clone each; the training is `one`'s, to rounding."""
    folders = [project, Path(shutil.copytree(project, tmp_path / "other", symlinks=True))]
    for folder in folders:
        params = yaml.safe_load((folder / "params.yaml").read_text())
        params["train"] |= {"strategy": "multi_worker", "precision": "float32"}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
    before = describe_files(folders[1])
    ports = find_ports(2)
    ends = [
        finish(process)
        for process in [
            start(folder, TF_CONFIG=make_config(ports, index), PYTHONDONTWRITEBYTECODE="1", CUDA_VISIBLE_DEVICES="")
            for index, folder in enumerate(folders)
        ]
    ]
    for code, _, err in ends:
        assert code == 0, err
    assert describe_files(folders[1]) == before
    assert all((project / name).exists() for name in OUTPUTS)
    assert json.loads((project / "models/tfrecord.training.json").read_text())["epochs"] == EPOCHS


def describe_files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}
