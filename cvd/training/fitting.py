"""Training: compile and fit. The same seed gives the same bits, interrupted or not."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvd.data.examples.batches import Augment
from cvd.data.examples.pipeline import reveal_input_errors
from cvd.data.examples.reading import Examples
from cvd.machine.hardware import describe_device
from cvd.models.networks.finetuning import hash_frozen_weights
from cvd.models.networks.saving import write_checkpoints
from cvd.training.course import PURE_LOSS, Course, OnEpoch, Training, list_checkpoints, read_checkpoint, write_variables
from cvd.training.devices import ADVICE, ONE_DEVICE, Batches, MemoryShortError, OneDevice
from cvd.training.optimizers import OPTIMIZERS, Rate, make_schedule
from cvd.training.outputs import write_outputs
from cvd.training.plan import Sources, choose_augment, lengthen_training, plan_training, read_examples
from cvd.training.transfer import Plan

STEPS_AT_ONCE = 10  # at most; half a second of the plain network


def train_variant(
    name: str,
    configuration: Mapping[str, Any],
    sources: Sources,
    outputs: Mapping[str, Path],
    *,
    size_px: int,
    devices: OneDevice = ONE_DEVICE,
    state_folder: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> None:
    """Train a variant; the chief writes the files of `write_outputs`, and `checkpoints` where `outputs` names them.

    `configuration` is all that the result follows from: `precision` and, as in params.yaml, `seed`, `train`, `variants`
    with its block, `augment` where it is augmented, and `every_epochs` of the checkpoints. For `state_folder` and
    `on_epoch` see `train_model`.

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
    every_epochs = configuration.get("every_epochs", 0) if devices.is_chief else 0
    with _open_folder(state_folder, is_needed=every_epochs > 0) as folder:
        training = train_model(
            plan.build,
            plan.train,
            plan.validation,
            variant,
            name=name,
            augment=plan.augment or choose_augment(variant, configuration.get("augment", {}), seed=seed),
            state_folder=folder,
            on_epoch=on_epoch,
            every_epochs=every_epochs,
            **common,
        )
        if not devices.is_chief:
            return
        model, threads = plan.finish(training.model), section["threads"]
        write_outputs(
            training, model, outputs, name, variant, precision=precision, load_seconds=load_seconds, threads=threads
        )
        if "checkpoints" in outputs:
            paths = list_checkpoints(folder)
            weights = (_finish_checkpoint(plan, training.model, path) for path in paths.values())
            write_checkpoints(outputs["checkpoints"], list(paths), weights, final=model.get_weights())


@contextmanager
def _open_folder(state_folder: Path | None, *, is_needed: bool) -> Iterator[Path | None]:
    """Give the state's folder; a temporary one where there is none, but checkpoints need one."""
    if state_folder or not is_needed:
        yield state_folder
        return
    with TemporaryDirectory() as name:
        yield Path(name)


def _finish_checkpoint(plan: Plan, trained: keras.Model, path: Path) -> list[np.ndarray]:
    """Weights of the network that would have been saved after an epoch; `trained` is changed."""
    write_variables(trained.variables, read_checkpoint(path))
    return list(plan.finish(trained).get_weights())


def train_model(
    build: Callable[[str], keras.Model],
    train: Examples,
    validation: Examples,
    variant: Mapping[str, Any],
    *,
    batch_size: int,
    precision: str,
    seed: int,
    augment: Augment | None = None,
    state_folder: Path | None = None,
    on_epoch: OnEpoch | None = None,
    every_epochs: int = 0,
    name: str = "training",
    devices: OneDevice = ONE_DEVICE,
) -> Training:
    """Train a one-logit classifier with binary cross-entropy; switches TensorFlow's op determinism on.

    Args:
        build: makes the model of a dtype policy: `precision`.
        train: what it learns from.
        validation: what it is measured on after each epoch, never augmented.
        variant: a block of params.yaml's `variants`: what it says of optimizer, schedule, loss and epochs. The
            history's losses leave out `l2` and `label_smoothing` (s turns labels 0 and 1 into s/2 and 1 - s/2).
        batch_size: examples per step; the last step of an epoch may have fewer.
        precision: float32 or mixed_bfloat16.
        seed: of initial weights, order of the examples, dropout.
        augment: applied to training batches. Where it mixes images, the history's training loss is the cross-entropy
            with labels between 0 and 1, which no network brings to 0; for its accuracy see `measure_accuracy`.
        state_folder: where each finished epoch is written, and an interrupted training is resumed from.
        on_epoch: told of each epoch, of those before an interruption too.
        every_epochs: after each so many, `state_folder` gets a checkpoint, see `list_checkpoints`; 0: never.
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
        epochs, steps = variant["epochs"], -(-len(train) // batch_size)
        rate = make_schedule(variant, steps=epochs * steps)
        _compile(model, variant, rate, steps)
        course = Course(variant, len(train), steps, rate, state_folder, on_epoch, every_epochs)
        first_epoch = course.resume(model, devices)
        if not course.is_over():
            batches = Batches(batch_size, seed, first_epoch, epochs, augment)
            with course.keep_records(name):
                devices.fit(model, train, validation, batches, course)
    training = course.finish(model)
    if hash_frozen_weights(model) != frozen:
        raise RuntimeError(f"frozen weights of the network {model.name!r} have changed in training")
    return training


def measure_accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Measure which of (b, 1) logits name the class that has the larger share of a label, 0 or 1 each.

    Labels of mixed images lie between 0 and 1: Keras' BinaryAccuracy would count every one of them as wrong.
    """
    return keras.metrics.binary_accuracy(tf.cast(labels > 0.5, tf.float32), logits, threshold=0.0)


def _compile(model: keras.Model, variant: Mapping[str, Any], rate: Rate, steps_per_epoch: int) -> None:
    l2, label_smoothing = variant["l2"], variant["label_smoothing"]
    metrics = [keras.metrics.MeanMetricWrapper(measure_accuracy, name="accuracy")]
    if l2:
        for weight in model.trainable_weights:
            if weight.name.endswith("kernel"):
                weight.regularizer = keras.regularizers.L2(l2)
    if l2 or label_smoothing:  # then the loss is not what variants can be compared by
        metrics.append(keras.metrics.BinaryCrossentropy(from_logits=True, name=PURE_LOSS))
    model.compile(
        optimizer=OPTIMIZERS[variant["optimizer"]](rate, variant["weight_decay"]),
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
