"""The backbone's folder: one Keras model and what is known of it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import keras

from cvd.models.networks.saving import save_model
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_folder


@dataclass(frozen=True)
class Description:
    """What models/backbone/backbone.json says.

    Attributes:
        name: the network, as in `keras.applications`.
        weights: `torchvision`, `imagenet`, `random` or a path.
        size_px: side of its input.
        n_features: k of the layer `features`, (n, k).
        has_classes: whether the layer `classes`, (n, 1000) logits, is there.
        source: where the weights are from.
        sha256: of backbone.keras.
    """

    name: str
    weights: str
    size_px: int
    n_features: int
    has_classes: bool
    source: str
    sha256: str


def save_backbone(model: keras.Model, folder: str | Path, *, name: str, weights: str, source: str) -> Description:
    """Writes backbone.keras and backbone.json into a folder, as a whole."""
    with replace_folder(folder) as partial:
        save_model(model, partial / "backbone.keras")
        description = Description(
            name=name,
            weights=weights,
            size_px=model.inputs[0].shape[1],
            n_features=model.get_layer("features").output.shape[-1],
            has_classes=has_classes(model),
            source=source,
            sha256=hashlib.sha256((partial / "backbone.keras").read_bytes()).hexdigest(),
        )
        text = json.dumps(asdict(description), indent=2) + "\n"
        (partial / "backbone.json").write_text(text, encoding="utf-8")
    return description


def load_backbone(folder: str | Path) -> keras.Model:
    """The model that `save_backbone` wrote, frozen.

    Raises:
        InputError: it is not there.
    """
    path = Path(folder) / "backbone.keras"
    if not path.is_file():
        raise InputError(f"there is no backbone at {path}: run `dvc repro backbone`")
    model = keras.models.load_model(path, compile=False)
    model.trainable = False
    return model


def describe_backbone(folder: str | Path) -> Description:
    """What backbone.json says.

    Raises:
        InputError: it is missing or damaged.
    """
    path = Path(folder) / "backbone.json"
    try:
        return Description(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"there is no backbone at {path}: run `dvc repro backbone`") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): run `dvc repro --force backbone`") from error


def has_classes(model: keras.Model) -> bool:
    """Whether the model holds the pretrained 1,000-class head."""
    return any(layer.name == "classes" for layer in model.layers)
