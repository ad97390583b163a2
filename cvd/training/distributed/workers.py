"""The processes of a TensorFlow strategy, and what they tell one another."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvd.runtime.errors import InputError
from cvd.training.course import read_variables
from cvd.training.devices import OneDevice
from cvd.training.distributed.cluster import Cluster, WorkerLostError
from cvd.training.state import LISTS, TrainingState

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class Workers(OneDevice):
    """A strategy of TensorFlow, and this process' place in it."""

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster) -> None:
        self.strategy = strategy
        self.cluster = cluster
        self.n_workers, self.worker = len(cluster), cluster.rank
        self.n_replicas: int = strategy.num_replicas_in_sync  # copies of the network, in all processes
        self.n_local = self.n_replicas // self.n_workers  # those of this process

    def scope(self) -> AbstractContextManager[object]:
        """Open the context in which model and optimizer must be made."""
        return self.strategy.scope()

    def add_up(self, array: np.ndarray) -> np.ndarray:
        """Sum the workers' arrays, of one shape: the same on all of them; exact where all but one are 0."""
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
        """Give the chief's arrays to all workers, whose own give only shapes and types."""
        return [self.add_up(array if self.is_chief else np.zeros_like(array)) for array in arrays]

    def share_text(self, text: str) -> str:
        """Give the chief's text to all workers."""
        data = np.frombuffer(text.encode(), np.uint8)
        (n,) = self.share([np.array([len(data)])])
        (shared,) = self.share([data if self.is_chief else np.zeros(int(n[0]), np.uint8)])
        return shared.tobytes().decode()

    def share_state(self, state: TrainingState | None, model: keras.Model) -> TrainingState | None:
        """Give the chief's state to all workers; see `OneDevice.share_state`."""
        if self.n_workers == 1:
            return state
        text = json.dumps({name: getattr(state, name) for name in LISTS} if state else None)
        lists = json.loads(self.share_text(text))
        if lists is None:
            return None
        variables = read_variables(model.variables)
        mine = state or TrainingState(
            best=variables if lists["best_epoch"] else [],
            variables=variables,
            optimizer=read_variables(model.optimizer.variables),
        )
        best, variables, optimizer = (self.share(arrays) for arrays in (mine.best, mine.variables, mine.optimizer))
        return TrainingState(**lists, best=best, variables=variables, optimizer=optimizer)

    def require_alike(self, text: str) -> None:
        """Raise an InputError on all workers where one has another text than the chief."""
        differs = np.zeros(self.n_workers, np.int64)
        differs[self.worker] = self.share_text(text) != text
        ranks = np.flatnonzero(self.add_up(differs))
        if len(ranks):
            raise InputError(
                f"{self.cluster.describe(int(ranks[0]))} has other code, libraries, data or parameters than the chief, "
                "or trains another variant: give both the same commit, `dvc pull` and params.yaml"
            )

    @contextmanager
    def explain_losses(self) -> Iterator[None]:
        """Say in one line, with a WorkerLostError, which process of the cluster is gone."""
        try:
            yield
        except LOST as error:
            if self.n_workers == 1 or "InputError" in error.message:
                raise
            raise WorkerLostError(
                f"{self._find_lost(error.message)} is lost: start the same on every machine again"
            ) from error

    def _find_lost(self, message: str) -> str:
        others = [rank for rank in range(self.n_workers) if rank != self.worker]
        named = re.search(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)", message.partition("remote target")[2])
        task = (named.group(1), int(named.group(2))) if named else None
        if task in self.cluster.tasks:
            return self.cluster.describe(self.cluster.tasks.index(task))
        return self.cluster.describe(others[0]) if len(others) == 1 else "a process of TF_CONFIG's cluster"
