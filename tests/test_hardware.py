"""What the machine says of itself."""

from pathlib import Path

import pytest

from cvd.machine import hardware

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


MEMINFO = "MemTotal:       16384 kB\nMemFree:         1024 kB\nMemAvailable:    8192 kB\n"
NO_LIMIT = 9223372036854771712  # what version 1 says then
GROUP_1, GROUP_2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"


def lay_out_root(root: Path, cgroup: str, **files: dict[str, str]) -> None:
    contents = {"proc/meminfo": MEMINFO, "proc/self/cgroup": cgroup}
    contents |= {f"{folder}/{name}": text for folder, texts in files.items() for name, text in texts.items()}
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("", {}, 8192 * 1024),
        ("0::/\n", {GROUP_2: {"memory.max": "max\n"}}, 8192 * 1024),
        ("0::/\n", {GROUP_2: {"memory.max": "5000\n"}}, 5000),
        (
            "0::/a/b\n",
            {
                f"{GROUP_2}/a/b": {"memory.max": "max\n", "memory.current": "10\n"},
                f"{GROUP_2}/a": {
                    "memory.max": "5000\n",
                    "memory.current": "3000\n",
                    "memory.stat": "anon 2600\ninactive_file 400\nactive_file 7\n",
                },
            },
            5000 - (3000 - 400),
        ),
        ("0::/\n", {GROUP_2: {"memory.max": "5000\n", "memory.current": "6000\n"}}, 0),
        (
            "9:name=systemd:/x\n4:cpu,memory:/x\n0::/\n",
            {
                f"{GROUP_1}/x": {
                    "memory.limit_in_bytes": "7000\n",
                    "memory.usage_in_bytes": "4000\n",
                    "memory.stat": "inactive_file 1\ntotal_inactive_file 1000\n",
                },
                GROUP_1: {"memory.limit_in_bytes": f"{NO_LIMIT}\n"},
            },
            4000,
        ),
        # The group's path is that of the host, the files are the container's own.
        ("4:memory:/docker/0123\n", {GROUP_1: {"memory.limit_in_bytes": "7000\n"}}, 7000),
        ("1:cpu:/x\n", {f"{GROUP_1}/x": {"memory.limit_in_bytes": "7\n"}}, 8192 * 1024),
    ],
    ids=["none", "v2 max", "v2", "v2 around", "v2 full", "v1", "v1 of a container", "another controller"],
)
def test_memory_to_spare(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cgroup: str, files: dict[str, dict[str, str]], expected: int
) -> None:
    lay_out_root(tmp_path, cgroup, **files)
    monkeypatch.setattr(hardware, "ROOT", tmp_path)
    assert hardware.read_memory_bytes() == expected


def test_all_memory_is_the_containers_where_that_is_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lay_out_root(tmp_path, "0::/\n", **{GROUP_2: {"memory.max": "max\n"}})
    monkeypatch.setattr(hardware, "ROOT", tmp_path)
    machine = hardware.read_total_bytes()
    assert machine > 2**20
    (tmp_path / GROUP_2 / "memory.max").write_text("7000\n")
    assert hardware.read_total_bytes() == 7000


def test_systems_without_these_files_tell_their_free_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "ROOT", tmp_path)
    assert 0 < hardware.read_memory_bytes() <= hardware.read_total_bytes()
