"""What a training leaves: the network as people know it, its history, figures, times and table of layers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from cvd.machine import hardware
from cvd.models.networks.layers import count_parameters, format_layers
from cvd.models.networks.saving import save_model
from cvd.models.scratch.plain import build_plain
from cvd.runtime.files import replace_file
from cvd.training.fitting import Training, write_history


@dataclass(frozen=True)
class OutputPaths:
    """Where the five files go: .keras, .csv, .json, .json, .md."""

    model: Path
    history: Path
    timing: Path
    training: Path
    layers: Path


def rebuild_network(trained: keras.Model, build: Callable[[], keras.Model]) -> keras.Model:
    """The network as people know it, in float32 and of stock layers, with what was learnt."""
    model = build()
    model.set_weights(trained.get_weights())
    return model


def rebuild_plain(trained: keras.Model, *, dropout: float, width: int = 32, depth: int = 4) -> keras.Model:
    """The plain network, rebuilt."""
    size_px = trained.input_shape[1]
    return rebuild_network(trained, lambda: build_plain(size_px=size_px, dropout=dropout, width=width, depth=depth))


def write_outputs(
    training: Training,
    model: keras.Model,
    paths: OutputPaths,
    *,
    variant: Mapping[str, Any],
    title: str,
    precision: str,
    load_seconds: float,
    threads: int,
) -> None:
    """Writes the five files of a training, each whole or not at all.

    Args:
        training: what was learnt, and when.
        model: as it is to be saved.
        paths: of the files.
        variant: a block of params.yaml's `variants`.
        title: of the table of layers.
        precision: float32 or mixed_bfloat16, in which it was trained.
        load_seconds: that reading the examples took.
        threads: of one operation.
    """
    figures = {
        "epochs": len(training.history),
        "saved_epoch": training.saved_epoch,
        "precision": precision,
        "parameters": count_parameters(model.weights),
        "trainable_parameters": count_parameters(model.trainable_weights),
        "steps_per_epoch": training.steps_per_epoch,
        "keep": variant["keep"],
    }
    timing = {
        "images_per_second": round(training.images_per_second, 1),
        "seconds": round(sum(training.epoch_seconds), 3),
        "seconds_per_epoch": [round(seconds, 3) for seconds in training.epoch_seconds],
        "load_seconds": round(load_seconds, 3),
        "device": hardware.describe_device(),
        "threads": threads,
    }
    write_history(training.history, paths.history)
    _write_text(json.dumps(figures, indent=2) + "\n", paths.training)
    _write_text(json.dumps(timing, indent=2) + "\n", paths.timing)
    _write_text(format_layers(model, title=title, description=describe_variant(variant)), paths.layers)
    save_model(model, paths.model)
    print(f"saved epoch {training.saved_epoch} as {paths.model}: {figures['parameters']:,} parameters")


def describe_variant(variant: Mapping[str, Any]) -> str:
    """A block of params.yaml's `variants` in one line."""
    source = {"files": "image files", "shards": "TFRecord shards", "features": "the backbone's cached features"}[
        variant["input"]
    ]
    options = [
        f"L2 {variant['l2']:g}" if variant["l2"] else "",
        f"weight decay {variant['weight_decay']:g}" if variant["weight_decay"] else "",
        f"label smoothing {variant['label_smoothing']:g}" if variant["label_smoothing"] else "",
        f"{variant['optimizer']} at {variant['learning_rate']:g}",
        "falling to nothing along a cosine" if variant["schedule"] == "cosine" else "",
        f"after a warm-up of {variant['warmup_fraction']:.0%}" if variant["warmup_fraction"] else "",
        f"ending after {variant['patience']} epochs in vain" if variant["patience"] else "",
    ]
    return (
        f"{_describe_network(variant)}, trained on {source}, "
        f"{'augmented' if variant['augment'] else 'not augmented'}, dropout {variant['dropout']:g}, "
        f"{', '.join(option for option in options if option)}, "
        f"{variant['epochs']} epochs of which the {variant['keep']} is kept."
    )


def _describe_network(variant: Mapping[str, Any]) -> str:
    if variant["network"] != "backbone":
        return f"The {variant['network']} network of width {variant['width']} and depth {variant['depth']}"
    weights = "frozen" if variant["pretrained"] else "frozen, random"
    if n := variant["unfreeze"]:
        blocks = "block" if n == 1 else f"{n} blocks"
        return f"A {'pretrained' if variant['pretrained'] else 'random'} backbone that learns in its last {blocks}"
    return f"A {weights} backbone with a trained head"


def _write_text(text: str, path: Path) -> None:
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
