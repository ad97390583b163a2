"""Training: compile, fit, keep the best, resume, history. The same seed gives the same bits, interrupted or not."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from cvd.data.examples.pipeline import Augment, reveal_input_errors
from cvd.data.examples.reading import Examples
from cvd.machine.hardware import describe_device
from cvd.models.networks.finetuning import hash_frozen_weights
from cvd.training.course import COLUMNS, PURE_LOSS, Course, OnEpoch, Training, write_history
from cvd.training.devices import ADVICE, ONE_DEVICE, Batches, MemoryShortError, OneDevice
from cvd.training.optimizers import OPTIMIZERS, make_schedule
from cvd.training.outputs import write_outputs
from cvd.training.plan import Sources, choose_augment, lengthen_training, plan_training, read_examples

__all__ = ["COLUMNS", "OnEpoch", "Training", "train_model", "train_variant", "write_history"]

STEPS_AT_ONCE = 10  # at most; half a second of the plain network
SETTINGS = (
    *("epochs", "optimizer", "learning_rate", "weight_decay", "schedule", "warmup_fraction", "l2", "label_smoothing"),
    *("patience", "keep"),
)  # of a variant, that `train_model` takes


def train_variant(
    name: str,
    configuration: Mapping[str, Any],
    sources: Sources,
    outputs: Mapping[str, Path],
    *,
    size_px: int,
    devices: OneDevice = ONE_DEVICE,
    **books: Any,
) -> None:
    """Train a variant; the chief writes its files.

    Args:
        name: of the variant.
        configuration: all that the result follows from, nested as in params.yaml: `seed`, `train`, `augment` where the
            variant is augmented, `variants` with its block; and `precision`.
        sources: what is read.
        outputs: paths for `write_outputs`.
        size_px: side of the images.
        devices: what trains.
        books: `state_folder` and `on_epoch` of `train_model`.

    Raises:
        InputError: something cannot be read or does not fit into memory, or the loss is not finite.
    """
    begin = time.perf_counter()
    seed, section, precision = (configuration[key] for key in ("seed", "train", "precision"))
    common = {"batch_size": section["batch_size"], "seed": seed, "precision": precision, "devices": devices}
    variant = configuration["variants"][name]
    train, validation, n_all = read_examples(
        variant, sources, size_px=size_px, memory_share=section["memory_share"], devices=devices
    )
    variant = lengthen_training(name, variant, n_all=n_all, n_used=len(train), batch_size=section["batch_size"])
    plan = plan_training(variant, sources.network, train, validation, threads=section["threads"], **common)
    load_seconds = time.perf_counter() - begin
    images = f"{len(train)} training and {len(validation)} validation images from {sources.reads}"
    print(f"{name}: {images} in {load_seconds:.1f} s; {precision} on {describe_device()}", flush=True)
    settings = {key: variant[key] for key in SETTINGS}
    settings["augment"] = choose_augment(variant, configuration.get("augment", {}), seed=seed)
    training = train_model(plan.build, plan.train, plan.validation, name=name, **settings, **common, **books)
    if devices.is_chief:
        how = {"precision": precision, "load_seconds": load_seconds, "threads": section["threads"]}
        write_outputs(training, plan.finish(training.model), outputs, variant, title=name, **how)


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
    devices: OneDevice = ONE_DEVICE,
) -> Training:
    """Train a one-logit classifier with binary cross-entropy; switches TensorFlow's op determinism on.

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
        l2: L2 penalty on trained kernels. Like smoothing, it is left out of the history's losses.
        label_smoothing: s turns labels 0 and 1 into s/2 and 1 - s/2.
        patience: epochs without a lower validation loss after which training stops; None: no early stopping.
        augment: applied to training batches.
        state_folder: where each finished epoch is written, and an interrupted training is resumed from.
        on_epoch: told of each epoch, of those before an interruption too.
        name: for the progress bar.
        devices: what trains.

    Raises:
        InputError: the loss is not finite, memory runs out, an example cannot be read.
        RuntimeError: a frozen weight has moved.
    """
    with explain_errors(batch_size), devices.scope():
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(seed)
        model = build(precision)
        frozen = hash_frozen_weights(model)
        steps = -(-len(train) // batch_size)
        rate = make_schedule(schedule, learning_rate, steps=epochs * steps, warmup_fraction=warmup_fraction)
        _compile(model, OPTIMIZERS[optimizer](rate, weight_decay), steps, l2=l2, label_smoothing=label_smoothing)
        course = Course(len(train), steps, epochs, patience, keep, rate, state_folder, on_epoch)
        first_epoch = course.resume(model, devices)
        if not course.is_over():
            batches = Batches(batch_size, seed, first_epoch, epochs, augment)
            with course.keep_records(name):
                devices.fit(model, train, validation, batches, course)
    training = course.finish(model)
    if hash_frozen_weights(model) != frozen:
        raise RuntimeError(f"frozen weights of the network {model.name!r} have changed in training")
    return training


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
    """Say in one line what ended a training, where people can do something about it."""
    try:
        with reveal_input_errors():
            yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise MemoryShortError(
            f"not enough memory for this network with {batch_size} images at a time: {ADVICE}"
        ) from error
