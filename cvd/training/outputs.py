"""The files that a training leaves: network, history, figures, times and the table of layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from cvd.machine import hardware
from cvd.models.networks.layers import count_parameters, format_layers
from cvd.models.networks.saving import save_model
from cvd.models.scratch import choose_builder
from cvd.runtime.files import replace_file, write_json
from cvd.training.course import Training, write_history


def write_outputs(
    training: Training,
    model: keras.Model,
    paths: Mapping[str, Path],
    name: str,
    variant: Mapping[str, Any],
    *,
    precision: str,
    load_seconds: float,
    threads: int,
) -> None:
    """Write the five files of a training, each whole or not at all.

    `paths` are of `model` (.keras), `history` (.csv), `timing` and `training` (.json), and `layers` (.md). `variant` is
    the block as it was trained: of a share of the images, with the lengthened `epochs` and `patience`.
    """
    figures: dict[str, Any] = {
        "epochs": len(training.history),
        "saved_epoch": training.saved_epoch,
        "precision": precision,
        "parameters": count_parameters(model.weights),
        "trainable_parameters": count_parameters(model.trainable_weights),
        "steps_per_epoch": training.steps_per_epoch,
        "keep": variant["keep"],
    }
    if variant["share"] < 1:
        figures["share"] = variant["share"]
    timing = {
        "images_per_second": round(training.images_per_second, 1),
        "seconds": round(sum(training.epoch_seconds), 3),
        "seconds_per_epoch": [round(seconds, 3) for seconds in training.epoch_seconds],
        "load_seconds": round(load_seconds, 3),
        "device": hardware.describe_device(),
        "threads": threads,
    }
    write_history(training.history, paths["history"])
    write_json(figures, paths["training"])
    write_json(timing, paths["timing"])
    with replace_file(paths["layers"]) as partial:
        partial.write_text(format_layers(model, title=name, description=describe_variant(variant)), encoding="utf-8")
    save_model(model, paths["model"])
    print(f"saved epoch {training.saved_epoch} as {paths['model']}: {figures['parameters']:,} parameters")


def describe_variant(variant: Mapping[str, Any]) -> str:
    """Describe a block of params.yaml's `variants` in one line."""
    sources = {"files": "image files", "shards": "TFRecord shards", "features": "the backbone's cached features"}
    part = f"{100 * variant['share']:g}% of the training images, as " if variant["share"] < 1 else ""
    options = [
        f"L2 {variant['l2']:g}" if variant["l2"] else "",
        f"weight decay {variant['weight_decay']:g}" if variant["weight_decay"] else "",
        f"label smoothing {variant['label_smoothing']:g}" if variant["label_smoothing"] else "",
        f"{variant['optimizer']} at {variant['learning_rate']:g}",
        "falling to nothing along a cosine" if variant["schedule"] == "cosine" else "",
        f"after a warm-up of {variant['warmup_fraction']:.0%}" if variant["warmup_fraction"] else "",
        f"early stopping after {variant['patience']} epochs" if variant["patience"] else "",
    ]
    return (
        f"{_describe_network(variant)}, trained on {part}{sources[variant['input']]}, "
        f"{'augmented' if variant['augment'] else 'not augmented'}, dropout {variant['dropout']:g}, "
        f"{', '.join(option for option in options if option)}, "
        f"{variant['epochs']} epochs of which the {variant['keep']} is kept."
    )


def _describe_network(variant: Mapping[str, Any]) -> str:
    if variant["network"] != "backbone":
        given = choose_builder(variant, size_px=0).keywords
        keys = [f"{key} {given[key]}" for key in given if key not in ("size_px", "dropout")]
        words = " and ".join(filter(None, (", ".join(keys[:-1]), *keys[-1:])))
        return f"The {variant['network']} network{f' of {words}' if words else ''}"
    if n_blocks := variant["unfreeze"]:
        weights = "pretrained" if variant["pretrained"] else "random"
        return f"A {weights} backbone that learns in its last {'block' if n_blocks == 1 else f'{n_blocks} blocks'}"
    if variant["head"] == "imagenet":
        return "A pretrained backbone whose own classes are summed; nothing in it learns"
    return f"A {'frozen' if variant['pretrained'] else 'frozen, random'} backbone with a trained head"
