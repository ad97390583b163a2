"""What a training leaves: the network as people know it, its history, figures, times and table of layers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from cvd import hardware
from cvd.files import replace_file
from cvd.models.backbone import load_backbone
from cvd.models.head import attach_head
from cvd.models.layers import count_parameters, format_layers
from cvd.models.plain import build_plain
from cvd.models.saving import save_model
from cvd.training import Training, write_history
from cvd.training_state import digest_arrays


@dataclass(frozen=True)
class OutputPaths:
    """Where the five files go: .keras, .csv, .json, .json, .md."""

    model: Path
    history: Path
    timing: Path
    training: Path
    layers: Path


def rebuild_plain(trained: keras.Model, *, dropout: float) -> keras.Model:
    """The network as people know it, in float32, with what was learnt."""
    model = build_plain(size_px=trained.input_shape[1], dropout=dropout)
    model.set_weights(trained.get_weights())
    return model


def join_backbone(folder: Path, head: keras.Model) -> keras.Model:
    """The backbone with the trained head, after a check that the backbone is what it was."""
    model = attach_head(load_backbone(folder), head)
    names = [layer.name for layer in model.layers if layer.name not in {each.name for each in head.layers}]
    before, after = (
        digest_arrays(array for name in names for array in each.get_layer(name).get_weights())
        for each in (load_backbone(folder), model)
    )
    if before != after:
        raise RuntimeError("the frozen backbone's weights have changed in training")
    return model


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
    network = {"plain": "The plain network", "backbone": "A frozen backbone with a trained head"}[variant["network"]]
    source = {"files": "image files", "shards": "TFRecord shards", "features": "the backbone's cached features"}[
        variant["input"]
    ]
    return (
        f"{network}, trained on {source}, {'augmented' if variant['augment'] else 'not augmented'}, "
        f"dropout {variant['dropout']:g}, {variant['optimizer']} at {variant['learning_rate']:g}, "
        f"{variant['epochs']} epochs of which the {variant['keep']} is kept."
    )


def _write_text(text: str, path: Path) -> None:
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
