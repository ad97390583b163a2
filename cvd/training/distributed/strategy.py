"""Several processors or machines as one: TensorFlow's strategies, and what their processes tell one another."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MethodType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvd.data.examples.reading import Examples
from cvd.data.examples.shares import hold_part, split_range
from cvd.runtime.errors import InputError
from cvd.training.distributed.cluster import Cluster, WorkerLostError, meet_peers
from cvd.training.state import LISTS, Arrays, TrainingState

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class Distribution:
    """A strategy of TensorFlow, and this process' place in it; made by `start_distribution`.

    Attributes:
        strategy: MirroredStrategy or MultiWorkerMirroredStrategy.
        cluster: the processes; None when there is this one only.
        n_replicas: copies of the network, in all processes.
        n_local: those of this process.
    """

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster | None) -> None:
        self.strategy = strategy
        self.cluster = cluster
        self.n_replicas: int = strategy.num_replicas_in_sync
        self.n_local = self.n_replicas // self.n_workers

    @property
    def n_workers(self) -> int:
        """How many processes take part."""
        return len(self.cluster) if self.cluster else 1

    @property
    def worker(self) -> int:
        """Which of them this is; the chief is 0."""
        return self.cluster.rank if self.cluster else 0

    @property
    def is_chief(self) -> bool:
        """Whether this process writes anything."""
        return self.worker == 0

    def scope(self) -> AbstractContextManager[object]:
        """Where model and optimizer must be made."""
        return self.strategy.scope()

    def find_own(self, examples: Examples) -> range:
        """The indices of those examples of a split that this process reads."""
        return split_range(len(examples), worker=self.worker, n_workers=self.n_workers)

    def hold_own(self, *splits: Examples, memory_bytes: int) -> tuple[Examples, ...]:
        """The same splits; the process' own part of each is kept in memory where it fits into `memory_bytes`."""
        return tuple(hold_part(each, self.find_own(each), memory_bytes=memory_bytes) for each in splits)

    def add_up(self, array: np.ndarray) -> np.ndarray:
        """The sum of the workers' arrays, of one shape: on all of them the same; exact where all but one are 0."""
        if self.n_workers == 1:
            return array
        value = array if array.dtype in (np.float32, np.float64) else array.astype(np.int64)

        def contribute(context: Any) -> tf.Tensor:
            is_first = context.replica_id_in_sync_group % self.n_local == 0
            return tf.constant(value if is_first else np.zeros_like(value))

        with self.explain_losses():
            values = self.strategy.experimental_distribute_values_from_function(contribute)
            return self.strategy.reduce("SUM", values, axis=None).numpy().astype(array.dtype)

    def share(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The chief's arrays, on all workers; those of the others give only shapes and types."""
        return [self.add_up(array if self.is_chief else np.zeros_like(array)) for array in arrays]

    def share_text(self, text: str) -> str:
        """The chief's text, on all workers."""
        data = np.frombuffer(text.encode(), np.uint8)
        (n,) = self.share([np.array([len(data)])])
        (shared,) = self.share([data if self.is_chief else np.zeros(int(n[0]), np.uint8)])
        return shared.tobytes().decode()

    def require_alike(self, text: str) -> None:
        """Makes sure that all workers have the same text.

        Raises:
            InputError: on all of them, when one differs from the chief.
        """
        differs = np.zeros(self.n_workers, np.int64)
        differs[self.worker] = self.share_text(text) != text
        ranks = np.flatnonzero(self.add_up(differs))
        if self.cluster and len(ranks):
            raise InputError(
                f"{self.cluster.describe(int(ranks[0]))} has other code, libraries, data or parameters than the chief, "
                "or trains another variant: give both the same commit, `dvc pull` and params.yaml"
            )

    @contextmanager
    def explain_losses(self) -> Iterator[None]:
        """Says in one line which process is gone.

        Raises:
            WorkerLostError: a process of the cluster does not answer.
        """
        try:
            yield
        except LOST as error:
            if self.cluster is None or "InputError" in error.message:
                raise
            raise WorkerLostError(
                f"{self._find_lost(error.message)} is lost: start the same on every machine again"
            ) from error

    def _find_lost(self, message: str) -> str:
        assert self.cluster is not None
        others = [rank for rank in range(self.n_workers) if rank != self.worker]
        found = re.search(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)", message.partition("remote target")[2])
        task = (found.group(1), int(found.group(2))) if found else None
        if task in self.cluster.tasks:
            return self.cluster.describe(self.cluster.tasks.index(task))
        return self.cluster.describe(others[0]) if len(others) == 1 else "a process of TF_CONFIG's cluster"


def start_distribution(strategy: str, cluster: Cluster | None) -> Distribution | None:
    """Starts what `train.strategy` asks for, before TensorFlow does anything else; None for `one`.

    Args:
        strategy: `one`; `mirrored`: a copy of the network on each GPU or, where there is none, on each of two halves of
            the processor, to try it; `multi_worker`: one on each GPU, or the processor, of every process.
        cluster: who takes part in `multi_worker`.

    Raises:
        InputError: this process cannot listen where TF_CONFIG says.
        WorkerLostError: another one does not start.
    """
    if strategy == "one":
        return None
    if strategy == "mirrored":
        return Distribution(tf.distribute.MirroredStrategy(_list_devices()), None)
    assert cluster is not None
    meet_peers(cluster)
    return Distribution(tf.distribute.MultiWorkerMirroredStrategy(), cluster)


def _list_devices() -> list[str]:
    if not tf.config.list_physical_devices("GPU"):
        (processor,) = tf.config.list_physical_devices("CPU")
        if tf.config.get_logical_device_configuration(processor) is None:
            tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def prepare_model(model: keras.Model) -> None:
    """Readies a compiled model for a strategy.

    BatchNorm takes the statistics of the whole batch, as on one device, not of each replica's share. Our fused
    optimizers, which know of one device only, step as Keras' own do, on the same state.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    optimizer = model.optimizer
    stock: Any = next(kind for kind in type(optimizer).__mro__ if kind.__module__.startswith("keras."))
    optimizer.update_step = MethodType(stock.update_step, optimizer)


def share_state(
    distribution: Distribution, state: TrainingState | None, variables: Arrays, optimizer: Arrays
) -> TrainingState | None:
    """The chief's state, on all workers: they go on together from where the chief was; None when it has none.

    Args:
        distribution: the workers.
        state: the chief's; that of the others is not used.
        variables: of the model, for their shapes.
        optimizer: likewise.
    """
    if distribution.n_workers == 1:
        return state
    text = json.dumps({name: getattr(state, name) for name in LISTS} if state else None)
    lists = json.loads(distribution.share_text(text))
    if lists is None:
        return None
    mine = state or TrainingState(
        best=variables if lists["best_epoch"] else [], variables=variables, optimizer=optimizer
    )
    return TrainingState(
        **lists,
        best=distribution.share(mine.best),
        variables=distribution.share(mine.variables),
        optimizer=distribution.share(mine.optimizer),
    )
