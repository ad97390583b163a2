"""What the machine says of itself."""

from pathlib import Path

import pytest

from cvd import hardware

CPUINFO = (
    "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu {flag}\n\nprocessor\t: 1\nmodel name\t: Some CPU\n"
)


@pytest.mark.parametrize(
    ("flag", "expected"), [("avx512_bf16", "mixed_bfloat16"), ("amx_bf16", "mixed_bfloat16"), ("avx2", "float32")]
)
def test_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flag: str, expected: str) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(flag=flag))
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "list_gpus", lambda: [])
    assert hardware.resolve_precision("auto") == expected
    assert hardware.resolve_precision("float32") == "float32"
    assert hardware.describe_device().startswith("Some CPU @ 2.0GHz, ")


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "float32"), ((8, 0), "mixed_bfloat16"), ((9, 0), "mixed_bfloat16")]
)
def test_auto_follows_the_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str) -> None:
    monkeypatch.setattr(hardware, "list_gpus", lambda: [("Some GPU", capability)])
    assert hardware.resolve_precision("auto") == expected
    assert hardware.describe_device() == "Some GPU"


def test_unknown_systems_compute_in_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "none")
    assert not hardware.has_bfloat16()
    assert hardware.read_processor_name()


def test_memory_is_the_containers_where_that_is_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "CGROUP_LIMIT", tmp_path / "none")
    physical = hardware.read_memory_bytes()
    for text, expected in (("1000000\n", 1_000_000), ("max\n", physical)):
        (tmp_path / "limit").write_text(text)
        monkeypatch.setattr(hardware, "CGROUP_LIMIT", tmp_path / "limit")
        assert hardware.read_memory_bytes() == expected
