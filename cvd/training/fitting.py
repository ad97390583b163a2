"""Training: compile, fit, keep the best, resume, history. The same seed gives the same bits, interrupted or not."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from cvd.data.examples.pipeline import Augment, make_evaluation_dataset, make_training_dataset, reveal_input_errors
from cvd.data.examples.reading import Examples
from cvd.models.networks.finetuning import hash_frozen_weights
from cvd.training.course import COLUMNS, PURE_LOSS, Course, OnEpoch, Training, write_history
from cvd.training.distributed.loop import fit_distributed
from cvd.training.distributed.strategy import Distribution
from cvd.training.memory import ADVICE, MemoryShortError
from cvd.training.optimizers import OPTIMIZERS, make_schedule

__all__ = ["COLUMNS", "OnEpoch", "Training", "train_model", "write_history"]

STEPS_AT_ONCE = 10  # at most; half a second of the plain network


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
    weight_decay: float = 0.0,
    schedule: str = "constant",
    warmup_fraction: float = 0.0,
    l2: float = 0.0,
    label_smoothing: float = 0.0,
    patience: int | None = None,
    augment: Augment | None = None,
    state_folder: Path | None = None,
    on_epoch: OnEpoch | None = None,
    name: str = "training",
    distribution: Distribution | None = None,
) -> Training:
    """Trains a one-logit classifier with binary cross-entropy; switches TensorFlow's op determinism on.

    Args:
        build: makes the model of a dtype policy: `precision`.
        train: what it learns from.
        validation: what it is measured on after each epoch, never augmented.
        epochs: passes over the training examples, at least 1.
        batch_size: examples per step; the last step of an epoch may have fewer.
        optimizer: rmsprop, adam, adamw or sgd (with momentum 0.9).
        learning_rate: its step size, the highest one.
        keep: `last` or `best`, the first epoch of the lowest validation loss.
        precision: float32 or mixed_bfloat16.
        seed: initial weights, order of the examples, dropout.
        weight_decay: share of the learning rate by which adamw shrinks kernels at each step.
        schedule: constant or cosine, see `cvd.training.optimizers.Schedule`.
        warmup_fraction: share of all steps in which the rate rises, 0..0.9.
        l2: what a trained kernel's square costs. Like smoothing, it is left out of the history's losses.
        label_smoothing: s turns labels 0 and 1 into s/2 and 1 - s/2.
        patience: epochs without a lower validation loss after which it ends early; None: it does not.
        augment: applied to training batches.
        state_folder: where each finished epoch is written, and an interrupted training is resumed from.
        on_epoch: told of each epoch, of those before an interruption too.
        name: for the progress bar.
        distribution: the processors or machines that train together; None: one.

    Raises:
        InputError: the loss is not finite, memory runs out, an example cannot be read.
        RuntimeError: a frozen weight has moved.
    """
    with explain_errors(batch_size), distribution.scope() if distribution else nullcontext():
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(seed)
        model = build(precision)
        frozen = hash_frozen_weights(model)
        steps = -(-len(train) // batch_size)
        rate = make_schedule(schedule, learning_rate, steps=epochs * steps, warmup_fraction=warmup_fraction)
        _compile(model, OPTIMIZERS[optimizer](rate, weight_decay), steps, l2=l2, label_smoothing=label_smoothing)
        course = Course(len(train), steps, epochs, patience, keep, rate, state_folder, on_epoch)
        first_epoch = course.resume(model, distribution)
        if not course.is_over():
            span: dict[str, Any] = {
                "batch_size": batch_size,
                "seed": seed,
                "epochs": epochs,
                "first_epoch": first_epoch,
            }
            with course.keep_books(name):
                if distribution:
                    books: dict[str, Any] = {"augment": augment, "callbacks": [course]}
                    fit_distributed(model, distribution, train, validation, **span, **books)
                else:
                    _fit(model, make_training_dataset(train, **span, augment=augment), validation, course, span)
    training = course.finish(model)
    if hash_frozen_weights(model) != frozen:
        raise RuntimeError(f"frozen weights of the network {model.name!r} have changed in training")
    return training


def _fit(
    model: keras.Model, batches: tf.data.Dataset, validation: Examples, course: Course, span: Mapping[str, int]
) -> None:
    model.fit(
        batches,
        initial_epoch=span["first_epoch"],
        epochs=span["epochs"],
        steps_per_epoch=course.steps_per_epoch,
        validation_data=make_evaluation_dataset(validation, batch_size=span["batch_size"]),
        callbacks=[course],
        shuffle=False,  # the batches are
        verbose=0,
    )


def _compile(
    model: keras.Model, optimizer: keras.Optimizer, steps_per_epoch: int, *, l2: float, label_smoothing: float
) -> None:
    metrics = [keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")]
    if l2:
        for weight in model.trainable_weights:
            if weight.name.endswith("kernel"):
                weight.regularizer = keras.regularizers.L2(l2)
    if l2 or label_smoothing:  # then the loss is not what variants can be compared by
        metrics.append(keras.metrics.BinaryCrossentropy(from_logits=True, name=PURE_LOSS))
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing),
        metrics=metrics,
        jit_compile=False,  # XLA takes twice as long on processors
        # No bit changes, and less Python runs between steps. A call must not reach into the next epoch.
        steps_per_execution=max(n for n in range(1, STEPS_AT_ONCE + 1) if steps_per_epoch % n == 0),
    )
    model.optimizer.build(model.trainable_variables)


@contextmanager
def explain_errors(batch_size: int) -> Iterator[None]:
    """Says in one line what a training died of, where people can do something about it."""
    try:
        with reveal_input_errors():
            yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise MemoryShortError(
            f"not enough memory for this network with {batch_size} images at a time: {ADVICE}"
        ) from error
