"""What a variant's training follows from, as dvc.yaml's `graph` has to say it: one line for each variant."""

from dataclasses import asdict, dataclass

from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import Params
from cvd.runtime.params.variants import BackboneVariant
from cvd.runtime.vocabulary import CATS_AND_DOGS, list_spellings

READS = {"files": "data/images.sha256", "shards": "data/shards", "features": "data/features"}


@dataclass(frozen=True)
class Entry:
    """A variant's line in the graph; dvc.yaml says what each key is for."""

    reads: str
    network: str
    pixels: str
    section: str
    like: str
    base: str


def place_variant(params: Params, name: str) -> Entry:
    """Derive a variant's line from its block.

    Raises:
        InputError: there is no such block, or it sums ImageNet's cats and dogs and the classes are others.
    """
    variant = params.variants.get(name)
    if variant is None:
        raise InputError(f"variant {name!r} is not in params.yaml: expected one of {', '.join(params.variants)}")
    if getattr(variant, "head", "") == "imagenet" and not _are_cats_and_dogs(params):
        fault = f"variant {name!r} sums ImageNet's cats and dogs, but data.classes is {params.data.classes}"
        raise InputError(f"{fault}: it needs [cat, dog]; leave {name} out of dvc.yaml's graph")
    pixels, network = "image", "cvd/models/scratch"
    if isinstance(variant, BackboneVariant):
        pixels = "backbone"
        network = f"models/{variant.starts_from}.keras" if variant.starts_from else "models/backbone"
    line = params.trace(name)
    return Entry(
        reads=READS[variant.input],
        network=network,
        pixels=pixels,
        section="augment" if variant.augment else pixels,
        like=line[1] if len(line) > 1 else name,
        base=line[-1],
    )


def _are_cats_and_dogs(params: Params) -> bool:
    classes = params.data.choose_classes()
    return classes != "auto" and all(
        word in list_spellings(name) for word, name in zip(CATS_AND_DOGS, classes, strict=True)
    )


def check_entry(params: Params, name: str, given: Entry) -> None:
    """Compare a variant's line in dvc.yaml with what its block needs.

    Raises:
        InputError: they do not fit together.
    """
    for key, needed in asdict(place_variant(params, name)).items():
        if (said := getattr(given, key)) != needed:
            need = f"its block in params.yaml needs `{key}: {needed}`: write that there, or run `cvd add {name}`"
            raise InputError(f"dvc.yaml's graph gives {name} `{key}: {said}`, but {need}")


def describe_configuration(params: Params, name: str) -> dict[str, object]:
    """All parameters that a result follows from, nested as in params.yaml, and `every_epochs`."""
    entry = place_variant(params, name)
    chosen = {section: getattr(params, section).model_dump() for section in ("train", entry.pixels, entry.section)}
    variants = {name: params.variants[name].model_dump()}
    return {"seed": params.seed, "every_epochs": params.gradcam.every_epochs, "variants": variants, **chosen}
