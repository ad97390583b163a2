"""The words and colours that stages, tables and pictures share: classes, splits, methods, colours of variants."""

from collections.abc import Iterable
from typing import Literal, get_args

from cvd.runtime.errors import InputError

Classes = tuple[str, str]  # in the order of their numbers: a positive logit means the second
CATS_AND_DOGS: Classes = ("cat", "dog")  # what the project draws, and what the published sources hold
SPLITS = ("train", "validation", "test")
Method = Literal["gradcam", "gradcam++", "hirescam", "hirescam+", "scorecam", "integrated"]
METHODS: tuple[Method, ...] = get_args(Method)
Choice = Literal["auto", Method]  # auto: the one whose maps add up to the network's answer
CHOICES: tuple[str, ...] = ("auto", *METHODS)

# A variant has one colour in every picture. The optional ones: two for each spare colour, few are ever drawn together.
HUES = {
    **{"baseline": "vermilion", "augmented": "blue", "tfrecord": "purple", "transfer": "green"},
    **{"residual": "orange", "fine_tuned": "sky", "random_backbone": "grey", "transfer_augmented": "yellow"},
    **{"l2": "orange", "augmented_only": "sky", "small": "grey", "dropout_only": "yellow"},
}
SPARE_HUES = ("orange", "sky", "grey", "yellow")  # of variants that the project does not know
# Okabe and Ito (2008): told apart with every common kind of colour blindness. Darker here, for text on paper.
SHADES = {
    "vermilion": "#bd4b00",
    "blue": "#0067a5",
    "orange": "#946300",
    "green": "#007d5c",
    "purple": "#a8527f",
    "sky": "#2a75a8",
    "grey": "#687080",
    "yellow": "#756d00",
}


def name_classes(paths: Iterable[str], labels: Iterable[int]) -> Classes:
    """Name the two classes by the folders of their images, `test/cat/cat.0.jpg` with its label 0.

    The manifest and all predictions hold such paths: no other file has to say how the classes are called. A class whose
    images lie in no folder is named by its number.

    Raises:
        InputError: the images of a class are missing.
    """
    names: dict[int, str] = {}
    for path, label in zip(paths, labels, strict=True):
        if path and label not in names:
            names[label] = path.split("/")[-2] if "/" in path else str(label)
            if len(names) == 2:
                return names[0], names[1]
    raise InputError(f"only images of {' and '.join(names.values()) or 'no class'} are listed: two classes are needed")


def pluralise(name: str) -> str:
    """Put a class's name into the plural: cats, foxes, puppies; `cats` stays."""
    if name.endswith("s") and not name.endswith("ss"):
        return name
    if name.endswith(("ss", "x", "z", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"


def add_article(name: str) -> str:
    """Put the article before a class's name: a cat, an owl."""
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


def list_spellings(name: str) -> tuple[str, ...]:
    """List a class's name in lower case as sources write it: in the singular and in the plural."""
    lower = name.lower()
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    singulars = [lower.removesuffix(end) + new for end, new in endings if lower.endswith(end) and lower != end]
    return tuple(dict.fromkeys([lower, pluralise(lower), *singulars]))
