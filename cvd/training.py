"""Training: compile, fit, keep the best, resume, history. The same seed gives the same bits, interrupted or not."""

import csv
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cvd.data.examples import Examples
from cvd.data.pipeline import Augment, make_evaluation_dataset, make_training_dataset, reveal_input_errors
from cvd.errors import InputError
from cvd.files import replace_file
from cvd.models.optimizers import OPTIMIZERS
from cvd.training_progress import TrainingProgress
from cvd.training_state import Arrays, StateWriter, TrainingState, load_state

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
STEPS_AT_ONCE = 10  # at most; half a second of the plain network
OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after each epoch (1-based) with the history's row, without `epoch`, and `images_per_second`."""


@dataclass(frozen=True)
class Training:
    """What a training leaves behind.

    Attributes:
        model: as it is to be saved, of the last epoch or the best; it may still compute in half precision.
        history: a row per epoch with the keys of COLUMNS.
        saved_epoch: 1-based, whose weights the model has.
        steps_per_epoch: ceil(images / batch size).
        images_per_second: of the training steps of the median epoch.
        epoch_seconds: per epoch all of its time: steps, validation, bookkeeping.
    """

    model: keras.Model
    history: list[dict[str, float]]
    saved_epoch: int
    steps_per_epoch: int
    images_per_second: float
    epoch_seconds: list[float]


def train_model(
    build: Callable[[str], keras.Model],
    train: Examples,
    validation: Examples,
    *,
    epochs: int,
    batch_size: int,
    optimizer: str,
    learning_rate: float,
    keep: str,
    precision: str,
    seed: int,
    augment: Augment | None = None,
    state_folder: Path | None = None,
    on_epoch: OnEpoch | None = None,
    name: str = "training",
) -> Training:
    """Trains a one-logit classifier with binary cross-entropy; switches TensorFlow's op determinism on.

    Args:
        build: makes the model of a dtype policy: `precision`.
        train: what it learns from.
        validation: what it is measured on after each epoch, never augmented.
        epochs: passes over the training examples, at least 1.
        batch_size: examples per step; the last step of an epoch may have fewer.
        optimizer: rmsprop, adam or sgd (with momentum 0.9).
        learning_rate: its step size.
        keep: `last` or `best`, the first epoch of the lowest validation loss.
        precision: float32 or mixed_bfloat16.
        seed: initial weights, order of the examples, dropout.
        augment: applied to training batches.
        state_folder: where each finished epoch is written, and an interrupted training is resumed from.
        on_epoch: told of each epoch, of those before an interruption too.
        name: for the progress bar.

    Raises:
        InputError: the loss is not finite, memory runs out, an example cannot be read.
    """
    with explain_errors(batch_size):
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(seed)
        model = build(precision)
        course = _Course(train, epochs, batch_size, keep, state_folder, on_epoch)
        _compile(model, optimizer, learning_rate, course.steps_per_epoch)
        first_epoch = course.resume(model)
        if first_epoch < epochs:
            batches = make_training_dataset(
                train, batch_size=batch_size, seed=seed, epochs=epochs, first_epoch=first_epoch, augment=augment
            )
            with course.keep_books(name):
                model.fit(
                    batches,
                    initial_epoch=first_epoch,
                    epochs=epochs,
                    steps_per_epoch=course.steps_per_epoch,
                    validation_data=make_evaluation_dataset(validation, batch_size=batch_size),
                    callbacks=[course],
                    shuffle=False,  # the batches are
                    verbose=0,
                )
    return course.finish(model)


def _compile(model: keras.Model, optimizer: str, learning_rate: float, steps_per_epoch: int) -> None:
    model.compile(
        optimizer=OPTIMIZERS[optimizer](learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
        jit_compile=False,  # XLA takes twice as long on processors
        # No bit changes, and less Python runs between steps. A call must not reach into the next epoch.
        steps_per_execution=max(n for n in range(1, STEPS_AT_ONCE + 1) if steps_per_epoch % n == 0),
    )
    model.optimizer.build(model.trainable_variables)


class _Course(keras.callbacks.Callback):
    """The books of a training: times, history, best weights, state on disk."""

    def __init__(
        self, train: Examples, epochs: int, batch_size: int, keep: str, folder: Path | None, on_epoch: OnEpoch | None
    ) -> None:
        super().__init__()
        self.n_images = len(train)
        self.epochs = epochs
        self.steps_per_epoch = math.ceil(len(train) / batch_size)
        self.keeps_best = keep == "best"
        self.writer = StateWriter(folder / "state.npz") if folder else None
        self.on_epoch = on_epoch or (lambda epoch, metrics: None)
        self.state = TrainingState()

    def resume(self, model: keras.Model) -> int:
        """Goes to where an interrupted training was, if one was; returns how many epochs are finished."""
        state = load_state(self.writer.path) if self.writer else None
        if state:
            self.state = state
            _write_variables(model.variables, state.variables)
            _write_variables(model.optimizer.variables, state.optimizer)
            print(f"resuming after epoch {state.epochs} of {self.epochs}", flush=True)
            for row, seconds in zip(state.history, state.train_seconds, strict=True):
                self._tell(row, seconds)
        return self.state.epochs

    @contextmanager
    def keep_books(self, name: str) -> Iterator[None]:
        """Shows the progress and writes the states, the last one to its end."""
        self.progress = TrainingProgress(
            name=name, epochs=self.epochs, steps_per_epoch=self.steps_per_epoch, first_epoch=self.state.epochs
        )
        self.epoch_end = time.perf_counter()
        with self.progress, self.writer or nullcontext():
            yield

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.steps_begin = time.perf_counter()
        self.steps_done = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.progress.advance(batch + 1 - self.steps_done)
        self.steps_done = batch + 1

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.steps_end = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        row = self._make_row(epoch + 1, logs or {})
        state = self.state
        now = time.perf_counter()
        state.train_seconds.append(self.steps_end - self.steps_begin)
        state.epoch_seconds.append(now - self.epoch_end)
        self.epoch_end = now
        state.history.append(row)
        state.variables = _read_variables(self.model.variables)
        earlier = [each["val_loss"] for each in state.history[:-1]]
        if self.keeps_best and row["val_loss"] < min(earlier, default=math.inf):
            state.best_epoch, state.best = epoch + 1, state.variables
        if self.writer:
            state.optimizer = _read_variables(self.model.optimizer.variables)
            self.writer.write(state)
        rate = self._tell(row, state.train_seconds[-1])
        self.progress.report_epoch(row, images_per_second=rate, seconds=state.epoch_seconds)

    def finish(self, model: keras.Model) -> Training:
        state = self.state
        if self.keeps_best:
            _write_variables(model.variables, state.best)
        return Training(
            model=model,
            history=state.history,
            saved_epoch=state.best_epoch if self.keeps_best else state.epochs,
            steps_per_epoch=self.steps_per_epoch,
            images_per_second=self.n_images / statistics.median(state.train_seconds),
            epoch_seconds=state.epoch_seconds,
        )

    def _make_row(self, epoch: int, logs: Mapping[str, float]) -> dict[str, float]:
        rate = self.model.optimizer.learning_rate.numpy()
        # All are float32: the shortest digits that tell them apart are exact, and fit to be read.
        values = {name: float(str(np.float32(logs[name]))) for name in COLUMNS[1:-1]}
        for name in ("loss", "val_loss"):
            if not math.isfinite(values[name]):
                raise InputError(
                    f"{name} of epoch {epoch} is {values[name]}: lower the variant's learning_rate, now {rate:g}"
                )
        return {"epoch": epoch, **values, "learning_rate": float(str(rate))}

    def _tell(self, row: Mapping[str, float], seconds: float) -> float:
        rate = self.n_images / seconds
        metrics = {name: row[name] for name in COLUMNS[1:]}
        self.on_epoch(int(row["epoch"]), {**metrics, "images_per_second": rate})
        return rate


def write_history(history: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Writes a history as CSV with COLUMNS, every number with all of its digits, whole or not at all."""
    with replace_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


@contextmanager
def explain_errors(batch_size: int) -> Iterator[None]:
    """Says in one line what a training died of, where people can do something about it."""
    try:
        with reveal_input_errors():
            yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise InputError(
            f"not enough memory for this network with {batch_size} images at a time: "
            "lower train.batch_size, image.size_px or train.memory_share"
        ) from error


def _read_variables(variables: Sequence[keras.Variable]) -> Arrays:
    return [np.array(variable.numpy()) for variable in variables]


def _write_variables(variables: Sequence[keras.Variable], arrays: Arrays) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
