"""A backbone with a head: where it starts, what of it is computed once, how it is saved."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
from tqdm import tqdm

from cvd.data.examples.batches import Augment
from cvd.data.examples.reading import Examples
from cvd.machine import hardware
from cvd.models.networks.backbone import load_backbone
from cvd.models.networks.features import compute_features, make_extractor
from cvd.models.networks.finetuning import cut_blocks, find_boundary, unfreeze_blocks
from cvd.models.networks.folding import fold_normalisation
from cvd.models.networks.head import FEATURES, attach_head, build_head, split_head, sum_classes
from cvd.models.networks.layers import list_leaves
from cvd.models.networks.mirroring import add_mirror, remove_mirror
from cvd.models.networks.saving import load_network
from cvd.runtime.errors import InputError
from cvd.training.devices import MemoryShortError
from cvd.training.identity import digest_arrays

LOGIT = "logit"
DOMAIN = 3  # keeps the coins of `mirror` apart from the numbers of cvd.data.examples and cvd.data.augmentation
N_CALIBRATION = 64  # images that give a random backbone's BatchNorm its statistics
Build: TypeAlias = Callable[[str], keras.Model]
Finish: TypeAlias = Callable[[keras.Model], keras.Model]


class Plan(NamedTuple):
    """What is trained, and on what."""

    train: Examples
    validation: Examples
    build: Build  # makes the network that is trained, of a dtype policy
    finish: Finish  # makes the one that is saved: a flat graph from pixels to logits
    augment: Augment | None = None  # in place of the variant's own


def plan_transfer(
    variant: Mapping[str, Any], network: Path, train: Examples, validation: Examples, *, seed: int, threads: int
) -> Plan:
    """Plan how a backbone's head, and its last blocks, are trained.

    A frozen layer sees the same images in each epoch if they are not augmented. Then what the layers that learn read is
    computed once, by `threads` that load images: the features or, where blocks learn, what these blocks read. With
    `mirror` the mirror images' too. Examples may hold features already.

    Raises:
        InputError: the network is not there, has no classes, or has fewer blocks.
    """
    start = load_start(network)
    if not variant["pretrained"]:
        chosen = np.linspace(0, len(train) - 1, min(len(train), N_CALIBRATION)).astype(np.int64)
        start = draw_weights(start, train.fetch(chosen), seed=seed)
    plan = _plan_images if variant["augment"] else _plan_features
    planned = plan(variant, start, train, validation, seed=seed, threads=threads)
    if variant["mirror"]:
        return planned._replace(finish=lambda trained: add_mirror(planned.finish(trained)))
    return planned


def _plan_images(
    variant: Mapping[str, Any], start: keras.Model, train: Examples, validation: Examples, *, seed: int, threads: int
) -> Plan:
    """Plan a training that runs the whole network in every epoch."""
    unfreeze, dropout = variant["unfreeze"], variant["dropout"]

    def finish(trained: keras.Model) -> keras.Model:
        return trained if unfreeze else join_backbone(start, make_head(trained, dropout=dropout))

    return Plan(train, validation, lambda _: build_classifier(start, dropout=dropout, unfreeze=unfreeze), finish)


def _plan_features(
    variant: Mapping[str, Any], start: keras.Model, train: Examples, validation: Examples, *, seed: int, threads: int
) -> Plan:
    """Plan a training that runs the frozen layers once."""
    unfreeze, dropout = variant["unfreeze"], variant["dropout"]
    build, finish = choose_ends(start, variant["head"], dropout=dropout, unfreeze=unfreeze)
    augment = None
    if len(train.shape) > 1:
        images = [train, validation, *([mirror_examples(train)] if variant["mirror"] else [])]
        outputs = name_faults(find_boundary, start, unfreeze)
        train, validation, *mirrored = extract_examples(start, *images, threads=threads, outputs=outputs)
        augment = mirror_half(mirrored[0], seed=seed) if mirrored else None
    return Plan(train, validation, build, finish, augment)


def choose_ends(start: keras.Model, head: str, *, dropout: float, unfreeze: int) -> tuple[Build, Finish]:
    """Choose what makes the layers that learn, and what joins them to the frozen ones again."""
    if head == "imagenet":
        whole = name_faults(sum_classes, start)
        return lambda _: split_head(whole), lambda _: whole
    if not unfreeze:
        return lambda dtype: make_head(start, dropout=dropout, dtype=dtype), lambda head: join_backbone(start, head)

    def finish(blocks: keras.Model) -> keras.Model:
        model = build_classifier(start, dropout=dropout, unfreeze=unfreeze)
        for layer in list_leaves(blocks):
            if layer.weights:
                model.get_layer(layer.name).set_weights(layer.get_weights())
        return model

    return lambda _: cut_blocks(build_classifier(start, dropout=dropout, unfreeze=unfreeze), unfreeze), finish


def load_start(path: Path) -> keras.Model:
    """Load a backbone from its folder, or from a `.keras` file with a trained head, frozen.

    Raises:
        InputError: it is not there, or the file is no backbone's.
    """
    start = remove_mirror(load_network(path)) if path.suffix == ".keras" else load_backbone(path)
    if FEATURES not in {layer.name for layer in start.layers}:
        raise InputError(f"{path} has no layer {FEATURES!r}: it is no backbone with a head")
    start.trainable = False
    return start


def draw_weights(start: keras.Model, images: np.ndarray, *, seed: int) -> keras.Model:
    """Copy a network with random initial weights, frozen.

    BatchNorm gets the statistics of `images`, (n, s, s, 3), pixels 0..255. With Keras' initial statistics the values
    would shrink to 1e-12 in MobileNetV2's 52 convolutions: no head learns from that.
    """
    keras.utils.set_random_seed(seed)
    drawn = keras.models.clone_model(start)
    layers = [layer for layer in drawn.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.trainable, layer.momentum = True, 0.0  # the statistics become those of this call
    drawn(images.astype(np.float32), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    drawn.trainable = False
    return drawn


def make_head(source: keras.Model, *, dropout: float, dtype: str = "float32") -> keras.Model:
    """Build a head on a network's features, with the weights of the network's own head, if there is one."""
    n_features = source.get_layer(FEATURES).output.shape[-1]
    head = build_head(n_features=n_features, dropout=dropout, dtype=dtype)
    if LOGIT in {layer.name for layer in source.layers}:
        head.get_layer(LOGIT).set_weights(source.get_layer(LOGIT).get_weights())
    return head


def build_classifier(start: keras.Model, *, dropout: float, unfreeze: int) -> keras.Model:
    """Build what is trained on images: a flat graph from pixels to logits, in float32.

    `unfreeze` of the backbone's last blocks learn. With 0, BatchNorm is folded into the convolutions: half the time.

    Raises:
        InputError: the backbone has fewer blocks.
    """
    head = make_head(start, dropout=dropout)
    if unfreeze == 0:
        return attach_head(fold_normalisation(keras.Model(start.inputs[0], start.get_layer(FEATURES).output)), head)
    model = attach_head(start, head)
    name_faults(unfreeze_blocks, model, unfreeze)
    return model


def name_faults(function: Callable[..., Any], model: keras.Model, *values: int) -> Any:
    """Call a function of a network, and name its fault to people.

    Raises:
        InputError: the network has fewer blocks, or no classes.
    """
    try:
        return function(model, *values)
    except ValueError as error:
        fault = str(error)
        raise InputError(f"unfreeze is {values[0]}: {fault.partition(': ')[2]}" if values else fault) from error


def join_backbone(start: keras.Model, head: keras.Model) -> keras.Model:
    """Join the backbone as it was and the trained head into the network that is saved.

    Raises:
        RuntimeError: a weight of the backbone has changed.
    """
    model = attach_head(start, head)
    in_head = {layer.name for layer in head.layers}
    names = [layer.name for layer in model.layers if layer.name not in in_head]
    before, after = (
        digest_arrays(array for name in names for array in network.get_layer(name).get_weights())
        for network in (start, model)
    )
    if before != after:
        raise RuntimeError("the frozen backbone's weights have changed in training")
    return model


def extract_examples(
    start: keras.Model, *splits: Examples, threads: int, outputs: Sequence[keras.KerasTensor] = ()
) -> list[Examples]:
    """Replace images, (s, s, 3), by what a frozen network makes of them, which is computed once and kept in memory.

    Those are the tensors `outputs` of it, as `make_extractor` gives them. Features, the default, are float32. Maps are
    kept as float16: 14,000 images and their mirrors of 9 x 9 x 208 take 0.9 GB.

    Raises:
        MemoryShortError: they do not fit into free memory.
    """
    extract = make_extractor(start, outputs)
    dtype = "float16" if any(len(output.shape) == 4 for output in outputs) else "float32"
    n_images, extracted = sum(map(len, splits)), []
    _require_memory(n_images, outputs, dtype)
    with tqdm(total=n_images, desc="frozen layers", unit="image", disable=None) as bar:
        for images in splits:
            values = compute_features(
                extract, images.fetch, n_images=len(images), threads=threads, dtype=dtype, progress=bar.update
            )
            fetch: Callable[[np.ndarray], np.ndarray] = values.__getitem__
            extracted.append(Examples(images.paths, images.labels, fetch, values.shape[1:], values.dtype))
    return extracted


def _require_memory(n_images: int, outputs: Sequence[keras.KerasTensor], dtype: str) -> None:
    needed = n_images * sum(math.prod(output.shape[1:]) for output in outputs) * np.dtype(dtype).itemsize
    if needed > (spare := hardware.read_memory_bytes()):
        need = f"what the learning blocks read of {n_images:,} images takes {needed / 1e9:,.1f} GB"
        raise MemoryShortError(
            f"not enough memory: {need}, and {spare / 1e9:,.1f} GB are free: lower unfreeze or backbone.size_px"
        )


def mirror_examples(images: Examples) -> Examples:
    """Mirror images left to right."""
    return replace(images, fetch=lambda indices: np.ascontiguousarray(images.fetch(indices)[:, :, ::-1]))


def mirror_half(mirrored: Examples, *, seed: int) -> Augment:
    """Make an augmentation that replaces about half of a batch, another half in each epoch, by the mirror images'."""

    def change(values: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
        coins = np.random.default_rng((DOMAIN, seed, epoch)).random(len(mirrored))[indices] < 0.5  # (b,)
        values[coins] = mirrored.fetch(indices[coins])
        return values

    return Augment(change)
