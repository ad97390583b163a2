"""What the machine can do: processor, bfloat16, memory, threads."""

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
BFLOAT16_CAPABILITY = (8, 0)  # of NVIDIA GPUs: Ampere and later


def set_threads(threads: int) -> None:
    """Limits TensorFlow to so many threads, within one operation and across operations.

    Sums are split among the threads of an operation, so their number changes the last bits of a result.

    Raises:
        RuntimeError: TensorFlow has started already, with another number.
    """
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() != threads:
        threading.set_intra_op_parallelism_threads(threads)
    if threading.get_inter_op_parallelism_threads() != threads:
        threading.set_inter_op_parallelism_threads(threads)


def resolve_precision(precision: str) -> str:
    """Turns "auto" into "mixed_bfloat16" where the processor or every GPU has bfloat16, else into "float32"."""
    if precision != "auto":
        return precision
    gpus = list_gpus()
    fast = all(capability >= BFLOAT16_CAPABILITY for _, capability in gpus) if gpus else has_bfloat16()
    return "mixed_bfloat16" if fast else "float32"


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers in hardware."""
    return any(BFLOAT16_FLAGS & set(flags.split()) for flags in _read_cpuinfo("flags"))


def describe_device() -> str:
    """What computes, for people: the GPUs, else the processor."""
    return ", ".join(name for name, _ in list_gpus()) or f"{read_processor_name()}, {os.cpu_count()} cores"


def list_gpus() -> list[tuple[str, tuple[int, int]]]:
    """Name and compute capability (major, minor) of each GPU that TensorFlow sees; (0, 0) where it tells none."""
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return [(each.get("device_name", "GPU"), each.get("compute_capability", (0, 0))) for each in details]


def read_processor_name() -> str:
    """The processor's name as the system gives it."""
    return next(iter(_read_cpuinfo("model name")), "") or platform.processor() or platform.machine()


def read_memory_bytes() -> int:
    """The memory that this process may use: the machine's, or its container's where that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return physical


def _read_cpuinfo(field: str) -> list[str]:
    """Values of a field of /proc/cpuinfo, one per core; none where there is no such file."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == field]
