"""What a killed training needs to resume with the same bits: its state on disk, whole or not at all."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cvd.runtime.files import replace_file
from cvd.runtime.locks import try_lock
from cvd.training.identity import digest_arrays

Arrays = list[np.ndarray]


@dataclass
class TrainingState:
    """A training between two epochs; the first three lists have an item per finished epoch."""

    history: list[dict[str, float]] = field(default_factory=list)  # with the keys of COLUMNS
    train_seconds: list[float] = field(default_factory=list)  # of training steps
    epoch_seconds: list[float] = field(default_factory=list)  # of all: steps, validation, bookkeeping
    best_epoch: int = 0  # 1-based; 0 before the first
    best: Arrays = field(default_factory=list)  # the model's variables after that epoch, where they are to be kept
    variables: Arrays = field(default_factory=list)  # all of the model's, states of dropout's seeds included
    optimizer: Arrays = field(default_factory=list)  # all of the optimizer's variables

    @property
    def epochs(self) -> int:
        """Count the finished epochs."""
        return len(self.history)


LISTS = ("history", "train_seconds", "epoch_seconds", "best_epoch")
ARRAYS = ("variables", "optimizer")
KEPT_DAYS = 7
DIGEST = "sha256"  # of all that a file holds


def save_state(state: TrainingState, path: Path, *, has_best: bool = False) -> None:
    """Write a state through to the disk, so that it survives a power cut, in place of an earlier one.

    The best weights have a file beside it, named by their epoch: they seldom change. `has_best`: it is there already.
    """
    best = _name_best(path, state.best_epoch)
    if state.best and not has_best:
        write_arrays(best, {"best": state.best})
    lists = np.frombuffer(json.dumps({name: getattr(state, name) for name in LISTS}).encode(), np.uint8)
    write_arrays(path, {"lists": [lists], **{name: getattr(state, name) for name in ARRAYS}})
    for other in path.parent.glob(_name_best(path, "*").name):  # the state before this one needed it
        if other != best:
            other.unlink()


def _name_best(path: Path, epoch: int | str) -> Path:
    return path.with_name(f"{path.stem}.best-{epoch}{path.suffix}")


def write_arrays(path: Path, arrays: Mapping[str, Arrays]) -> None:
    """Write named groups of arrays with a digest of them all, whole or not at all."""
    flat: dict[str, Any] = {}
    for name, group in arrays.items():
        flat |= {f"{name}.{number}": array for number, array in enumerate(group)}
    flat[DIGEST] = np.frombuffer(_digest_named(flat).encode(), np.uint8)
    with replace_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **flat)


def read_arrays(path: Path) -> dict[str, Arrays]:
    """Read what `write_arrays` wrote; any exception means that the file is damaged."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        flat = {key: file[key] for key in file.files}  # in the order of writing
    written = flat.pop(DIGEST).tobytes().decode()
    if _digest_named(flat) != written:  # a zip's own checks leave out the names of its members
        raise ValueError(f"{path} does not hold what was written")
    arrays: dict[str, Arrays] = {}
    for key, array in flat.items():
        arrays.setdefault(key.rpartition(".")[0], []).append(array)
    return arrays


def _digest_named(flat: Mapping[str, np.ndarray]) -> str:
    return hashlib.sha256("\n".join([*flat, digest_arrays(flat.values())]).encode()).hexdigest()


class StateWriter:
    """Write states to a file in a thread while the training goes on; its `with` block waits for the last one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: Future[None] | None = None
        self._best_epoch = 0  # whose weights were written

    def write(self, state: TrainingState) -> None:
        """Begin to write a state; its lists may change afterwards, the values of its arrays may not.

        Raises:
            OSError: the state before this one could not be written.
        """
        self._wait()
        shot = replace(
            state, history=[*state.history], train_seconds=[*state.train_seconds], epoch_seconds=[*state.epoch_seconds]
        )
        has_best = state.best_epoch == self._best_epoch
        self._pending = self._pool.submit(save_state, shot, self.path, has_best=has_best)
        self._best_epoch = state.best_epoch

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="state")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        if error is None:
            self._wait()


def load_state(path: Path) -> TrainingState | None:
    """Read a state; None when there is none, or when a file of it is damaged, which is printed."""
    if not path.exists():
        return None
    try:
        arrays = read_arrays(path)
        lists: dict[str, Any] = json.loads(arrays.pop("lists")[0].tobytes())
        if lists["best_epoch"]:
            arrays |= read_arrays(_name_best(path, lists["best_epoch"]))
    except (MemoryError, PermissionError):
        raise  # it may be readable later
    except Exception as error:  # what NumPy and zipfile raise on a damaged file is nearly anything
        print(f"the state in {path.parent} is damaged ({type(error).__name__}): beginning at epoch 1", flush=True)
        return None
    return TrainingState(**(lists | arrays))


@contextmanager
def open_state_folder(root: Path, key: str) -> Iterator[Path | None]:
    """Lock the folder `key` in `root`, of a training's state; yield None where another process holds it.

    After Ctrl-C, an error of the system or a shortage of memory it stays, to resume from. After success, or any other
    error, which would come again, it is removed. So are those of other trainings, KEPT_DAYS after their last epoch.
    """
    _remove_old(root, key)
    lock = root / f"{key}.lock"
    with try_lock(lock) as is_held:
        if not is_held:
            yield None
            return
        folder = root / key
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        except (KeyboardInterrupt, OSError, MemoryError):
            if any(folder.iterdir()):
                print("the finished epochs are kept: the same command goes on from there", flush=True)
            else:
                _remove(folder, lock)
            raise
        except BaseException:
            _remove(folder, lock)
            raise
        _remove(folder, lock)


def _remove_old(root: Path, key: str) -> None:
    """Remove other states that were written long ago: their parameters have changed since, or nobody wants them."""
    oldest = time.time() - KEPT_DAYS * 86_400
    for lock in root.glob("*.lock"):
        folder = lock.with_suffix("")
        with suppress(FileNotFoundError):  # of a file that a training replaces at this moment
            if lock.stem != key and all(path.stat().st_mtime < oldest for path in folder.glob("*")):
                with try_lock(lock) as is_held:
                    if is_held:
                        _remove(folder, lock)


def _remove(folder: Path, lock: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.unlink(missing_ok=True)
