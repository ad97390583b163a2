"""The course of a training, epoch by epoch: times, history, best weights, state on disk, early stopping."""

import csv
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.training.devices import OneDevice
from cvd.training.optimizers import Rate
from cvd.training.state import Arrays, StateWriter, TrainingState, load_state, read_arrays, write_arrays

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
PURE_LOSS = "cross_entropy"  # a metric, where the loss that is trained on is more than that
CHECKPOINT = "epoch-"  # and its number: the name of a file
RECENT = 5  # epochs from which the time left is estimated
OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after each epoch (1-based) with the history's row, without `epoch`, and `images_per_second`."""


class DivergedError(InputError):
    """The loss is not finite."""


@dataclass(frozen=True)
class Training:
    """What a training leaves behind."""

    model: keras.Model  # of the last epoch or the best; it may still compute in half precision
    history: list[dict[str, float]]  # a row per epoch with the keys of COLUMNS
    saved_epoch: int  # 1-based, whose weights the model has
    steps_per_epoch: int  # ceil(images / batch size)
    images_per_second: float  # of the training steps of the median epoch
    epoch_seconds: list[float]  # per epoch all of its time: steps, validation, bookkeeping


class Course(keras.callbacks.Callback):
    """The records of a training: times, history, best weights, state on disk, and whether it is over.

    Args:
        variant: its `epochs`, `patience` and `keep`.
        rate: the learning rate, or what gives it for a step, counted from 0.
        folder: of the state; None: nothing is written.
        every_epochs: after each so many epochs the variables are kept in the folder; 0: never.
    """

    def __init__(
        self,
        variant: Mapping[str, Any],
        n_images: int,
        steps_per_epoch: int,
        rate: Rate,
        folder: Path | None,
        on_epoch: OnEpoch | None,
        every_epochs: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.every_epochs = folder, every_epochs
        self.epochs, self.patience = variant["epochs"], variant["patience"]
        self.keeps_best = variant["keep"] == "best"
        self.n_images = n_images
        self.steps_per_epoch = steps_per_epoch
        self.rate = rate
        self.writer = StateWriter(folder / "state.npz") if folder else None
        self.on_epoch = on_epoch or (lambda epoch, metrics: None)
        self.state = TrainingState()

    def resume(self, model: keras.Model, devices: OneDevice) -> int:
        """Restore the state of an interrupted training, if there is one; return how many epochs are finished."""
        state = devices.share_state(load_state(self.writer.path) if self.writer else None, model)
        if state:
            self.state = state
            write_variables(model.variables, state.variables)
            write_variables(model.optimizer.variables, state.optimizer)
            print(f"resuming after epoch {state.epochs} of {self.epochs}", flush=True)
            for row, seconds in zip(state.history, state.train_seconds, strict=True):
                self._tell(row, seconds)
        return self.state.epochs

    def is_over(self) -> bool:
        """True after `epochs` epochs, or after `patience` epochs without a lower val_loss."""
        n_done, losses = self.state.epochs, [row["val_loss"] for row in self.state.history]
        is_stopped = self.patience is not None and n_done and n_done - find_best_epoch(losses) >= self.patience
        return n_done >= self.epochs or bool(is_stopped)

    @contextmanager
    def keep_records(self, name: str) -> Iterator[None]:
        """Show a progress bar on a terminal and write the states, the last one before it ends."""
        self.bar = tqdm(
            desc=name,
            total=self.epochs * self.steps_per_epoch,
            initial=self.state.epochs * self.steps_per_epoch,
            unit="step",
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
        )
        self.epoch_end = time.perf_counter()
        with self.bar, self.writer or nullcontext():
            yield

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: D102 - Keras' own
        self.steps_begin = time.perf_counter()
        self.steps_done = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: D102 - Keras' own
        self.bar.update(batch + 1 - self.steps_done)
        self.steps_done = batch + 1

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:  # noqa: D102 - Keras' own
        self.steps_end = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: D102 - Keras' own
        row = self._make_row(epoch + 1, logs or {})
        state = self.state
        now = time.perf_counter()
        state.train_seconds.append(self.steps_end - self.steps_begin)
        state.epoch_seconds.append(now - self.epoch_end)
        self.epoch_end = now
        state.history.append(row)
        state.variables = read_variables(self.model.variables)
        if self.keeps_best and find_best_epoch([past["val_loss"] for past in state.history]) == epoch + 1:
            state.best_epoch, state.best = epoch + 1, state.variables
        if self.folder and self.every_epochs and (epoch + 1) % self.every_epochs == 0:
            # Before the state that counts this epoch as finished.
            write_arrays(self.folder / f"{CHECKPOINT}{epoch + 1}.npz", {"variables": state.variables})
        if self.writer:
            state.optimizer = read_variables(self.model.optimizer.variables)
            self.writer.write(state)
        speed = self._tell(row, state.train_seconds[-1])
        line = format_epoch(row, epochs=self.epochs, images_per_second=speed, seconds=state.epoch_seconds)
        self.bar.write(line, file=sys.stdout)
        sys.stdout.flush()
        if self.is_over() and epoch + 1 < self.epochs:
            print(f"stopping: no lower val_loss in {self.patience} epochs", flush=True)
            self.model.stop_training = True

    def finish(self, model: keras.Model) -> Training:
        """Put the weights that are to be kept into the model, and sum up."""
        state = self.state
        if self.keeps_best:
            write_variables(model.variables, state.best)
        return Training(
            model=model,
            history=state.history,
            saved_epoch=state.best_epoch if self.keeps_best else state.epochs,
            steps_per_epoch=self.steps_per_epoch,
            images_per_second=self.n_images / statistics.median(state.train_seconds),
            epoch_seconds=state.epoch_seconds,
        )

    def _make_row(self, epoch: int, logs: Mapping[str, float]) -> dict[str, float]:
        last_step = self.model.optimizer.iterations.numpy() - 1
        rate = np.float32(self.rate(last_step) if callable(self.rate) else self.rate)
        # All are float32: the shortest digits that tell them apart are exact, and fit to be read.
        values = {name: float(str(np.float32(value))) for name, value in logs.items()}
        for name in ("loss", "val_loss"):
            if not math.isfinite(values[name]):
                raise DivergedError(
                    f"{name} of epoch {epoch} is {values[name]}: lower the variant's learning_rate, now {rate:g}"
                )
            values[name] = values.get(name.replace("loss", PURE_LOSS), values[name])
        row = {name: values[name] for name in COLUMNS[1:-1]}
        return {"epoch": epoch, **row, "learning_rate": float(str(rate))}

    def _tell(self, row: Mapping[str, float], seconds: float) -> float:
        """Call `on_epoch`; return images per second."""
        speed = self.n_images / seconds
        metrics = {name: row[name] for name in COLUMNS[1:]}
        self.on_epoch(int(row["epoch"]), {**metrics, "images_per_second": speed})
        return speed


def list_checkpoints(folder: Path | None) -> dict[int, Path]:
    """List the checkpoints in a training's folder, by epoch, the first one first."""
    paths = folder.glob(f"{CHECKPOINT}*.npz") if folder else ()
    return dict(sorted((int(path.stem.removeprefix(CHECKPOINT)), path) for path in paths))


def read_checkpoint(path: Path) -> Arrays:
    """Read the model's variables as they were after an epoch.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return read_arrays(path)["variables"]
    except Exception as error:  # what NumPy and zipfile raise on a damaged file is nearly anything
        raise InputError(f"checkpoint {path} is damaged ({type(error).__name__}): train once more") from error


def find_best_epoch(val_losses: Sequence[float]) -> int:
    """Find the first epoch, 1-based, of the lowest validation loss."""
    return 1 + min(range(len(val_losses)), key=val_losses.__getitem__)


def format_epoch(row: Mapping[str, float], *, epochs: int, images_per_second: float, seconds: Sequence[float]) -> str:
    """Format one line about an epoch; the time left follows from `seconds`, those of all epochs so far."""
    left = round((epochs - row["epoch"]) * statistics.median(seconds[-RECENT:]))
    clock = f"{left // 60}:{left % 60:02}" if left < 3600 else f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  loss {row['loss']:.4f} accuracy {row['accuracy']:.3f}"
        f"  val_loss {row['val_loss']:.4f} val_accuracy {row['val_accuracy']:.3f}"
        f"  {images_per_second:.0f} images/s  eta {clock}"
    )


def write_history(history: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Write a history as CSV with COLUMNS, every number with all of its digits, whole or not at all."""
    with replace_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def read_variables(variables: Sequence[keras.Variable]) -> Arrays:
    """Copy the values of variables."""
    return [np.array(variable.numpy()) for variable in variables]


def write_variables(variables: Sequence[keras.Variable], arrays: Arrays) -> None:
    """Assign values to variables."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
