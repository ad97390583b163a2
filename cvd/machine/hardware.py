"""What the machine can do: processor, bfloat16, memory."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from cvd.runtime.threads import count_cores

ROOT = Path("/")
CPUINFO = Path("/proc/cpuinfo")
# Of a control group: where its hierarchy is mounted, its limit, its use, and the part of that which can be reclaimed.
CGROUP_2 = ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
CGROUP_1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
BFLOAT16_CAPABILITY = (8, 0)  # of NVIDIA GPUs: Ampere and later


def resolve_precision(precision: str) -> str:
    """Turn "auto" into "mixed_bfloat16" where the processor or every GPU has bfloat16, else into "float32"."""
    if precision != "auto":
        return precision
    gpus = list_gpus()
    fast = all(capability >= BFLOAT16_CAPABILITY for _, capability in gpus) if gpus else has_bfloat16()
    return "mixed_bfloat16" if fast else "float32"


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers in hardware."""
    return any(BFLOAT16_FLAGS & set(flags.split()) for flags in _read_cpuinfo("flags"))


def describe_device() -> str:
    """Name what computes, for people: the GPUs, else the processor."""
    return ", ".join(name for name, _ in list_gpus()) or f"{read_processor_name()}, {count_cores()} cores"


def list_gpus() -> list[tuple[str, tuple[int, int]]]:
    """Name and compute capability (major, minor) of each GPU that TensorFlow sees; (0, 0) where it tells none."""
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return [(gpu.get("device_name", "GPU"), gpu.get("compute_capability", (0, 0))) for gpu in details]


def read_processor_name() -> str:
    """The processor's name as the system gives it."""
    return next(iter(_read_cpuinfo("model name")), "") or platform.processor() or platform.machine()


def read_memory_bytes() -> int:
    """Count the memory that is free for this process, in the machine or in its container, whichever is less.

    Pages that only cache files are free.
    """
    available_kb = _read_fields(ROOT / "proc/meminfo").get("MemAvailable:")
    available = available_kb * 1024 if available_kb is not None else _count_pages("SC_AVPHYS_PAGES")
    return min([available, *(max(0, limit - used) for limit, used in _read_groups())])


def read_total_bytes() -> int:
    """The memory of the machine, or of the container that this process is in, where that is less."""
    return min([_count_pages("SC_PHYS_PAGES"), *(limit for limit, _ in _read_groups())])


def _count_pages(name: str) -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf(name)


def _read_groups() -> Iterator[tuple[int, int]]:
    """Limit and use in bytes of the control groups, of version 1 or 2, that this process is in; none without limits."""
    for line in _read_lines(ROOT / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, limit_name, used_name, reclaimable_name = CGROUP_1 if controllers else CGROUP_2
        top = ROOT / mount
        folder = top / path.lstrip("/")
        # A container may see its own group as the top, whatever its path is called outside.
        for group in {top, *(parent for parent in (folder, *folder.parents) if parent.is_relative_to(top))}:
            limit = _read_number(group / limit_name)
            if limit is not None:
                used = _read_number(group / used_name) or 0
                yield limit, used - _read_fields(group / "memory.stat").get(reclaimable_name, 0)


def _read_number(path: Path) -> int | None:
    """The number that a file holds; None where there is no such file, or it says "max"."""
    text = "".join(_read_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _read_fields(path: Path) -> dict[str, int]:
    """The numbers of a file of lines such as `name 12` or `name: 12 kB`; the colon belongs to the name."""
    lines = (line.split() for line in _read_lines(path))
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def _read_cpuinfo(field: str) -> list[str]:
    """Values of a field of /proc/cpuinfo, one per core; none where there is no such file."""
    pairs = (line.partition(":") for line in _read_lines(CPUINFO))
    return [value.strip() for name, _, value in pairs if name.strip() == field]


def _read_lines(path: Path) -> list[str]:
    """A file of the system; no lines where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
