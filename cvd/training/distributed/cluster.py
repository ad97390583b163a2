"""The processes that train one network together, as TF_CONFIG names them. No TensorFlow."""

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cvd.runtime.errors import InputError

EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
START_SECONDS = 600.0  # that workers wait for one another to start
JOBS = ("chief", "worker")  # in this order; without a chief, worker 0 is it


class WorkerLostError(InputError, ConnectionError):
    """A process of the cluster is gone. As an OSError it keeps the state of the training, to resume from."""


@dataclass(frozen=True)
class Cluster:
    """Who takes part, and which of them this process is."""

    tasks: list[tuple[str, int]]  # TensorFlow's job and index of each process; the chief is the first
    addresses: list[str]  # host:port of each
    rank: int  # of this process in these lists

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes: outputs, state, MLflow."""
        return self.rank == 0

    def describe(self, rank: int) -> str:
        """Name a process for people."""
        job, index = self.tasks[rank]
        return f"{'the chief' if rank == 0 else f'{job} {index}'} at {self.addresses[rank]}"


ALONE = Cluster([("worker", 0)], ["this machine"], 0)


def read_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Read TF_CONFIG; None where it is not set.

    Raises:
        InputError: it cannot be used.
    """
    text = environment.get("TF_CONFIG", "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        this_task = (str(task["type"]), int(task["index"]))
        members = {str(job): [str(address) for address in addresses] for job, addresses in jobs.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"TF_CONFIG is {text!r}: it must be JSON like {EXAMPLE}") from error
    unknown = sorted(set(members) - set(JOBS))
    if unknown:
        raise InputError(f"TF_CONFIG's cluster names {unknown[0]!r}: only chief and worker train together")
    tasks = [(job, index) for job in JOBS for index in range(len(members.get(job, [])))]
    addresses = [address for job in JOBS for address in members.get(job, [])]
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536 or addresses.count(address) > 1:
            raise InputError(f"TF_CONFIG's cluster has {address!r}: each process needs its own host:port")
    if len(members.get("chief", [])) > 1:
        raise InputError(f"TF_CONFIG's cluster has {len(members['chief'])} chiefs: there can be one")
    if this_task not in tasks:
        known = ", ".join(f"{job} {index}" for job, index in tasks) or "nobody"
        raise InputError(f"TF_CONFIG's task is {this_task[0]} {this_task[1]}, but its cluster has {known}")
    return Cluster(tasks, addresses, tasks.index(this_task))


def has_other_chief() -> bool:
    """Whether TF_CONFIG makes another process the chief; False where it cannot be used, which `find_role` refuses."""
    try:
        cluster = read_cluster()
    except InputError:
        return False
    return cluster is not None and not cluster.is_chief


def find_role(strategy: str, environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Find the cluster that a training with `train.strategy` takes part in; None when it runs in one process.

    Raises:
        InputError: TF_CONFIG is missing, unusable, or set although the strategy does not use it.
    """
    cluster = read_cluster(environment)
    if strategy == "multi_worker" and cluster is None:
        raise InputError(
            f"train.strategy is multi_worker, but TF_CONFIG is not set: each process needs it, like {EXAMPLE}"
        )
    if strategy != "multi_worker" and cluster is not None and len(cluster) > 1:
        raise InputError(
            f"TF_CONFIG names {len(cluster)} processes, but train.strategy is {strategy}: "
            "set it to multi_worker, or unset TF_CONFIG"
        )
    return cluster if strategy == "multi_worker" else None


def meet_peers(cluster: Cluster, seconds: float = START_SECONDS) -> None:
    """Listen, and wait until every process of the cluster does; TensorFlow would wait silently for an hour.

    Raises:
        InputError: this process cannot listen where TF_CONFIG says.
        WorkerLostError: another one does not start in time.
    """
    port = int(cluster.addresses[cluster.rank].rpartition(":")[2])
    try:
        listener = socket.create_server(("", port))
    except OSError as error:
        raise InputError(
            f"port {port} of {cluster.describe(cluster.rank)} cannot be opened here ({os.strerror(error.errno or 0)}): "
            "end the process that has it, or name another in every TF_CONFIG"
        ) from None
    deadline = time.monotonic() + seconds
    with listener:  # until the others are there; then TensorFlow takes over the port
        for rank in range(len(cluster)):
            if rank != cluster.rank:
                _await_peer(cluster, rank, deadline, seconds)


def _await_peer(cluster: Cluster, rank: int, deadline: float, seconds: float) -> None:
    host, _, port = cluster.addresses[rank].rpartition(":")
    has_printed = False
    while not _is_open(host.strip("[]"), int(port)):
        if not has_printed:
            print(f"waiting for {cluster.describe(rank)}, up to {seconds:.0f} s", flush=True)
            has_printed = True
        if time.monotonic() > deadline:
            raise WorkerLostError(f"{cluster.describe(rank)} did not start in {seconds:.0f} s: start it as well")
        time.sleep(0.2)


def _is_open(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True
