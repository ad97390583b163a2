"""The environment for GPUs: the other one's packages, and NVIDIA's beside them."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"": "requirements.lock", "0": "requirements.lock", "1": "requirements-gpu.lock"}


def read_lock(name: str) -> dict[str, str]:
    """A package's name -> its version, marker and hashes."""
    entries = re.findall(r"^(\S+?)==(.*(?:\n    .*)*)", (ROOT / name).read_text(), re.MULTILINE)
    assert all("--hash=sha256:" in rest for _, rest in entries)
    return dict(entries)


def test_gpus_add_nvidia_s_packages_and_change_nothing_else() -> None:
    plain, gpu = read_lock("requirements.lock"), read_lock("requirements-gpu.lock")
    assert {name: gpu.get(name) for name in plain} == plain
    added = gpu.keys() - plain.keys()
    assert {"nvidia-cudnn-cu12", "nvidia-ml-py"} <= added
    assert all(name.startswith("nvidia-") for name in added)


def test_gpus_are_an_extra_of_the_package() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gpu"]
    assert "tensorflow[and-cuda]" in extra


@pytest.mark.parametrize("made_for", LOCKS)
@pytest.mark.parametrize("wanted", LOCKS)
def test_environment_is_rebuilt_when_gpu_changes(tmp_path: Path, made_for: str, wanted: str) -> None:
    parts = [ROOT / name for name in ("pyproject.toml", LOCKS[made_for], "cvd/runtime/bookkeeping/cvd.pth")]
    (tmp_path / "made-from").write_text(f"{ROOT}\n" + "".join(part.read_text() for part in parts))
    # A Python that does nothing but fail: whether it is asked for shows whether the environment would be rebuilt.
    command = ["make", "--silent", "venv", f"VENV={tmp_path}", f"GPU={wanted}", "PYTHON=false"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (LOCKS[made_for] == LOCKS[wanted]), done.stderr
    said = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"-r {LOCKS[wanted]} " in said
