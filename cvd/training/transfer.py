"""A backbone with a head: where it starts, what of it is computed once, how it is saved."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from cvd.data.examples.reading import Examples
from cvd.models.networks.backbone import load_backbone
from cvd.models.networks.features import compute_features, make_extractor
from cvd.models.networks.finetuning import unfreeze_blocks
from cvd.models.networks.folding import fold_normalisation
from cvd.models.networks.head import FEATURES, attach_head, build_head, split_head, sum_classes
from cvd.models.networks.saving import load_network
from cvd.runtime.errors import InputError
from cvd.training.identity import digest_arrays

LOGIT = "logit"
N_CALIBRATION = 64  # images that give a random backbone's BatchNorm its statistics


class Plan(NamedTuple):
    """What is trained, and on what."""

    train: Examples
    validation: Examples
    build: Callable[[str], keras.Model]  # makes the network that is trained, of a dtype policy
    finish: Callable[[keras.Model], keras.Model]  # makes the one that is saved: a flat graph from pixels to logits


def plan_transfer(
    variant: Mapping[str, Any], network: Path, train: Examples, validation: Examples, *, seed: int, threads: int
) -> Plan:
    """Plan how a backbone's head, and its last blocks, are trained.

    A frozen backbone sees the same images in each epoch if they are not augmented. Then their features are computed
    once, by `threads` that load images, and only the head is trained. Examples may hold such features already.

    Raises:
        InputError: the network is not there, or has fewer blocks.
    """
    unfreeze, dropout = variant["unfreeze"], variant["dropout"]
    start = load_start(network)
    if variant["head"] == "imagenet":
        try:
            model = sum_classes(start)
        except ValueError as error:
            raise InputError(f"head is 'imagenet': {error}") from error
        if len(train.shape) > 1:
            train, validation = extract_examples(start, train, validation, threads=threads)
        return Plan(train, validation, lambda _: split_head(model), lambda _: model)
    if not variant["pretrained"]:
        chosen = np.linspace(0, len(train) - 1, min(len(train), N_CALIBRATION)).astype(np.int64)
        start = draw_weights(start, train.fetch(chosen), seed=seed)
    if unfreeze or variant["augment"]:

        def finish(trained: keras.Model) -> keras.Model:
            return trained if unfreeze else join_backbone(start, make_head(trained, dropout=dropout))

        return Plan(train, validation, lambda _: build_classifier(start, dropout=dropout, unfreeze=unfreeze), finish)
    if len(train.shape) > 1:
        train, validation = extract_examples(start, train, validation, threads=threads)
    return Plan(
        train,
        validation,
        lambda dtype: make_head(start, dropout=dropout, dtype=dtype),
        lambda head: join_backbone(start, head),
    )


def load_start(path: Path) -> keras.Model:
    """Load a backbone from its folder, or from a `.keras` file with a trained head, frozen.

    Raises:
        InputError: it is not there, or the file is no backbone's.
    """
    start = load_network(path) if path.suffix == ".keras" else load_backbone(path)
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
    try:
        unfreeze_blocks(model, unfreeze)
    except ValueError as error:
        raise InputError(f"unfreeze is {unfreeze}: {str(error).partition(': ')[2]}") from error
    return model


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


def extract_examples(start: keras.Model, *splits: Examples, threads: int) -> list[Examples]:
    """Replace images, (s, s, 3), by their features, (k,), which are computed once and kept in memory."""
    extract = make_extractor(start)
    extracted = []
    for images in splits:
        features = compute_features(extract, images.fetch, n_images=len(images), threads=threads)  # (n, k)
        fetch: Callable[[np.ndarray], np.ndarray] = features.__getitem__
        extracted.append(Examples(images.paths, images.labels, fetch, features.shape[1:], features.dtype))
    return extracted
