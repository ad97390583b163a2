"""From the plain values of a variant to what is trained: examples, network, augmentation, precision."""

from collections.abc import Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cvd.data.augmentation.draws import Augmentation
from cvd.data.augmentation.images import augment_images
from cvd.data.augmentation.mixing import is_mixing, mix_batch
from cvd.data.examples.batches import Augment
from cvd.data.examples.reading import Examples, read_split
from cvd.data.examples.subset import take_share
from cvd.data.images.manifest import read_manifest
from cvd.machine import hardware
from cvd.models.scratch import choose_builder
from cvd.runtime.errors import InputError
from cvd.training.devices import OneDevice, require_memory
from cvd.training.transfer import Plan, plan_transfer

MOST_EPOCHS = 10_000  # that params.yaml takes


class Sources(NamedTuple):
    """What a training reads."""

    reads: Path  # folder of images, shards or features
    network: Path  # where a backbone's variant starts; unused by networks from scratch
    manifest: Path  # data/manifest.csv


def choose_precision(variant: Mapping[str, Any], asked: str) -> str:
    """Choose the precision to train in: float32 or mixed_bfloat16.

    A backbone's depthwise convolutions are no faster in half precision, so it runs in float32. A head on cached
    features is too small for `auto` to give up digits for speed.
    """
    if variant["network"] == "backbone" and (variant["input"] != "features" or asked == "auto"):
        return "float32"
    return hardware.resolve_precision(asked)


def choose_augment(variant: Mapping[str, Any], ranges: Mapping[str, Any], *, seed: int) -> Augment | None:
    """Choose what augments the training images, by `ranges`, the section `augment` of params.yaml; None: nothing."""
    if not variant["augment"]:
        return None
    augmentation = Augmentation(seed=seed, **ranges)

    def change(images: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
        return augment_images(images, augmentation, epoch=epoch, indices=indices)

    def mix(images: np.ndarray, labels: np.ndarray, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return mix_batch(images, labels, augmentation, epoch=epoch, indices=indices)

    return Augment(change, mix if is_mixing(augmentation) else None)


def read_examples(
    variant: Mapping[str, Any], sources: Sources, *, size_px: int, memory_share: float, devices: OneDevice
) -> tuple[Examples, Examples, int]:
    """Read the training images, or the variant's share of them, and the validation images.

    Either split, or this process' part, is kept in memory where it fits into half of `memory_share` of what is free.
    Images that a frozen network reads once are not: what it makes of them is kept instead (`plan_transfer`).

    Returns:
        Training examples, validation examples, and how many training images there are in all.

    Raises:
        InputError: a split is empty, a file is missing or damaged, or the manifest lists other images.
    """
    manifest = read_manifest(sources.manifest)
    read = partial(read_split, variant["input"], sources.reads, manifest, size_px=size_px)
    train, validation = read("train"), read("validation")
    is_read_once = variant["network"] == "backbone" and variant["input"] == "files" and not variant["augment"]
    memory_bytes = 0 if is_read_once else int(memory_share * hardware.read_memory_bytes() / 2)
    part = devices.hold(take_share(train, manifest, variant["share"]), memory_bytes=memory_bytes)
    return part, devices.hold(validation, memory_bytes=memory_bytes), len(train)


def lengthen_training(
    name: str, variant: Mapping[str, Any], *, n_all: int, n_used: int, batch_size: int
) -> Mapping[str, Any]:
    """Give a share of the images as many steps as all of them: more epochs, to the nearest whole one.

    With the same epochs, one would compare lengths of training, not amounts of data. `epochs` and `patience` of the
    variant are meant for `n_all` training images, of which `n_used` are used.

    Raises:
        InputError: that takes more than MOST_EPOCHS epochs.
    """
    n_steps, n_used_steps = (-(-n // batch_size) for n in (n_all, n_used))
    counts = {key: variant[key] for key in ("epochs", "patience") if variant[key] is not None}
    longer = {key: round(count * n_steps / n_used_steps) for key, count in counts.items()}
    if longer["epochs"] > MOST_EPOCHS:
        raise InputError(
            f"variants.{name}.epochs is {variant['epochs']}: as many steps on {n_used:,} images take "
            f"{longer['epochs']:,} epochs, but {MOST_EPOCHS:,} is the most: lower it"
        )
    return {**variant, **longer}


def plan_training(
    variant: Mapping[str, Any],
    network: Path,
    train: Examples,
    validation: Examples,
    *,
    precision: str,
    batch_size: int,
    seed: int,
    threads: int,
    devices: OneDevice,
) -> Plan:
    """Plan what is trained, and refuse what cannot fit into memory.

    `network` is where a backbone's variant starts; `batch_size` counts images per step, of all processes together.

    Raises:
        InputError: the network does not fit, or is not there.
    """
    if variant["network"] == "backbone":
        return plan_transfer(variant, network, train, validation, seed=seed, threads=threads)
    build = choose_builder(variant, size_px=train.shape[0])

    def build_for_training(dtype: str) -> keras.Model:
        hint = (
            {"for_training": not tf.distribute.has_strategy()} if "for_training" in signature(build).parameters else {}
        )
        return build(dtype=dtype, **hint)

    def rebuild(trained: keras.Model) -> keras.Model:
        model = build(dtype="float32")  # of stock layers
        model.set_weights(trained.get_weights())
        return model

    n_at_once = -(-min(batch_size, len(train)) // devices.n_workers)
    require_memory(lambda: build_for_training(precision), n_at_once, variant["optimizer"])
    return Plan(train, validation, build_for_training, rebuild)
