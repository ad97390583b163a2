"""A backbone with a head, trained on images: where it starts, what of it is computed once, how it is saved."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from cvd.data.examples.reading import Examples
from cvd.models.networks.backbone import load_backbone
from cvd.models.networks.features import compute_features, make_extractor
from cvd.models.networks.finetuning import unfreeze_blocks
from cvd.models.networks.folding import fold_normalisation
from cvd.models.networks.head import FEATURES, attach_head, build_head
from cvd.runtime.errors import InputError
from cvd.training.state import digest_arrays

LOGIT = "logit"
N_CALIBRATION = 64  # images that give a random backbone its statistics


class Plan(NamedTuple):
    """What a backbone's training is made of.

    Attributes:
        train: what it learns from.
        validation: what it is measured on.
        build: makes what is trained, of a dtype policy.
        finish: makes of it what is saved: one flat graph from pixels to logits.
    """

    train: Examples
    validation: Examples
    build: Callable[[str], keras.Model]
    finish: Callable[[keras.Model], keras.Model]


def plan_training(
    network: Path,
    train: Examples,
    validation: Examples,
    *,
    pretrained: bool,
    unfreeze: int,
    augment: bool,
    dropout: float,
    seed: int,
    threads: int,
) -> Plan:
    """How a backbone's head, and its last blocks, are trained.

    A frozen backbone sees the same images in each epoch if they are not augmented: then their features are computed
    once, and the head alone is trained.

    Args:
        network: where it starts, see `load_start`.
        train: images, or features computed by a frozen, pretrained backbone.
        validation: likewise.
        pretrained: whether the backbone keeps the weights that it comes with.
        unfreeze: how many of its last blocks learn.
        augment: whether the training images change from epoch to epoch.
        dropout: share of the features dropped in training.
        seed: of random weights.
        threads: how many load images while features are computed.

    Raises:
        InputError: the network is not there, or has fewer blocks.
    """
    start = load_start(network)
    if not pretrained:
        chosen = np.linspace(0, len(train) - 1, min(len(train), N_CALIBRATION)).astype(np.int64)
        start = draw_weights(start, train.fetch(chosen), seed=seed)
    if unfreeze or augment:

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
    """The network that a training starts from, frozen.

    Args:
        path: the folder of a backbone, or a `.keras` file of a backbone with a trained head.

    Raises:
        InputError: it is not there, or the file is no backbone's.
    """
    if path.suffix != ".keras":
        start = load_backbone(path)
    elif not path.is_file():
        raise InputError(f"there is no network at {path}: run `dvc repro train@{path.stem}`")
    else:
        start = keras.models.load_model(path, compile=False)
    if FEATURES not in {layer.name for layer in start.layers}:
        raise InputError(f"{path} has no layer {FEATURES!r}: it is no backbone with a head")
    start.trainable = False
    return start


def draw_weights(start: keras.Model, images: np.ndarray, *, seed: int) -> keras.Model:
    """The same network with all weights as a training from scratch begins, frozen.

    BatchNorm gets the statistics of some images. As Keras initialises it, it would let them pass as they are, and
    through MobileNetV2's 52 convolutions they shrink to 1e-12, of which no head learns anything.

    Args:
        start: unchanged by this.
        images: (n, s, s, 3), pixels 0..255.
        seed: of the weights.
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
    """A head that fits a network's features and, where the network has a head already, goes on from that."""
    n_features = source.get_layer(FEATURES).output.shape[-1]
    head = build_head(n_features=n_features, dropout=dropout, dtype=dtype)
    if LOGIT in {layer.name for layer in source.layers}:
        head.get_layer(LOGIT).set_weights(source.get_layer(LOGIT).get_weights())
    return head


def build_classifier(start: keras.Model, *, dropout: float, unfreeze: int) -> keras.Model:
    """What is trained on images: a flat graph from pixels to logits, in float32.

    Args:
        start: of `load_start`; unchanged by this.
        dropout: share of the features dropped in training.
        unfreeze: how many of the backbone's last blocks learn. With 0 the graph has BatchNorm folded into the
            convolutions, which takes half the time and is the same to rounding.

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
    """The network that is saved: the backbone as it was, with the trained head.

    Raises:
        RuntimeError: a weight of the backbone is another in it.
    """
    model = attach_head(start, head)
    names = [layer.name for layer in model.layers if layer.name not in {each.name for each in head.layers}]
    before, after = (
        digest_arrays(array for name in names for array in each.get_layer(name).get_weights())
        for each in (start, model)
    )
    if before != after:
        raise RuntimeError("the frozen backbone's weights have changed in training")
    return model


def extract_examples(start: keras.Model, *parts: Examples, threads: int) -> list[Examples]:
    """The same examples, by their features instead of their images; computed once, kept in memory.

    Args:
        start: of `load_start`.
        parts: examples of images.
        threads: how many load images while the network computes.
    """
    extract = make_extractor(start)
    extracted = []
    for part in parts:
        features = compute_features(extract, part.fetch, n_images=len(part), threads=threads)
        fetch: Callable[[np.ndarray], np.ndarray] = features.__getitem__
        extracted.append(Examples(part.paths, part.labels, fetch, features.shape[1:], features.dtype))
    return extracted
