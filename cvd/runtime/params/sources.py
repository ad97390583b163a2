"""The section `data` of params.yaml: where the photos come from, and their two classes."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

from cvd.runtime.params.sections import Section, Seed
from cvd.runtime.vocabulary import CATS_AND_DOGS, Classes, list_spellings


def _check_classes(value: object, check: Callable[[object], Any]) -> Any:
    try:
        return check(value)
    except ValidationError:
        if isinstance(value, list) and len(value) > 2:
            names = ", ".join(map(str, value))
            accepted = f"names {len(value)} classes, {names}, and networks here tell two apart: leave two"
            raise PydanticCustomError("classes", accepted) from None
        accepted = "should be auto, or two names such as [horse, zebra]: a letter, then letters, digits, _ and - only"
        raise PydanticCustomError("classes", accepted) from None


Name = Annotated[str, Field(pattern=r"^[^\W\d_][\w-]*$", max_length=40)]
Pair = Annotated[list[Name], Field(min_length=2, max_length=2)]
_OF_CATS_AND_DOGS = ("drawn", "microsoft", "filtered", "kaggle")


class Drawn(Section):
    """How many images the project draws, and which; and what is wrong with them on purpose."""

    n_per_class: int = Field(ge=10, le=100_000)
    seed: Seed
    shortcut: float = Field(ge=0, le=1)
    leak: float = Field(ge=0, le=1)


class Data(Section):
    """Where the photos come from."""

    source: Literal["drawn", "directory", "archive", "microsoft", "filtered", "kaggle", "url"]
    path: str
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+\S*$")] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None
    classes: Annotated[Literal["auto"] | Pair, WrapValidator(_check_classes)]
    drawn: Drawn

    def choose_classes(self) -> Classes | Literal["auto"]:
        """The two classes; of a source of cats and dogs also for auto."""
        if self.classes == "auto":
            return CATS_AND_DOGS if self.source in _OF_CATS_AND_DOGS else "auto"
        return self.classes[0], self.classes[1]

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if self.classes == "auto":
            return self
        spellings = [set(list_spellings(name)) for name in self.classes]
        if spellings[0] & spellings[1]:
            raise ValueError(f"classes are {self.classes}, which are one: name two that differ in more than an ending")
        if self.source in _OF_CATS_AND_DOGS and not set(CATS_AND_DOGS) <= set.union(*spellings):
            has = f"source {self.source!r} has cats and dogs, but data.classes is {self.classes}"
            raise ValueError(f"{has}: give photos of these, as data.source and data.path")
        return self

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        if self.source == "url":
            for name in ("url", "sha256"):
                if getattr(self, name) is None:
                    raise ValueError(f"source 'url' needs data.{name}, which is null")
        return self
