"""The blocks of params.yaml's `variants`: their keys, types and ranges, and what `like` means."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cvd.runtime.errors import InputError, quote_value, show_text
from cvd.runtime.params.sections import Count, Section

DEEPEST = 2  # `like` of `like`


class Variant(Section):
    """A network and how it is trained: what all networks have."""

    input: Literal["files", "shards", "features"]
    network: str
    augment: bool
    dropout: float = Field(ge=0, le=0.95)
    l2: float = Field(ge=0, le=1)
    optimizer: Literal["rmsprop", "adam", "adamw", "sgd"]
    learning_rate: float = Field(ge=1e-7, le=1)
    weight_decay: float = Field(ge=0, le=1)
    schedule: Literal["constant", "cosine"]
    warmup_fraction: float = Field(ge=0, le=0.9)
    label_smoothing: float = Field(ge=0, le=0.5)
    epochs: int = Field(ge=1, le=10_000)
    patience: Count | None
    keep: Literal["last", "best"]
    share: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        if self.weight_decay and self.optimizer != "adamw":
            cause = f"weight_decay {self.weight_decay:g} is adamw's, but optimizer is {self.optimizer!r}"
            raise ValueError(f"{cause}: set weight_decay to 0, or use l2")
        return self


class PlainVariant(Variant):
    """Convolutions in a row, each with a pooling, and a dense layer."""

    input: Literal["files", "shards"]
    network: Literal["plain"]
    width: int = Field(ge=1, le=1024)
    depth: int = Field(ge=1, le=7)


class ResidualVariant(Variant):
    """Residual blocks with BatchNorm and global pooling."""

    input: Literal["files", "shards"]
    network: Literal["residual"]
    width: int = Field(ge=1, le=512)
    depth: int = Field(ge=1, le=16)


class DenseVariant(Variant):
    """Dense layers on the pixels, no convolution."""

    input: Literal["files", "shards"]
    network: Literal["dense"]
    width: int = Field(ge=1, le=4096)
    depth: int = Field(ge=1, le=7)


class BackboneVariant(Variant):
    """A network of `backbone` with a small head."""

    input: Literal["files", "features"]
    network: Literal["backbone"]
    head: Literal["trained", "imagenet"]
    mirror: bool
    pretrained: bool
    starts_from: str | None
    unfreeze: int = Field(ge=0, le=200)

    @model_validator(mode="after")
    def _check_input(self) -> Self:
        contrary = {"augment": self.augment, "pretrained": not self.pretrained, "unfreeze": self.unfreeze > 0}
        contrary["mirror"] = self.mirror
        for key, is_contrary in contrary.items():
            if self.input == "features" and is_contrary:
                raise ValueError(
                    f"{key} {str(getattr(self, key)).lower()} needs images, but input 'features' is the frozen, "
                    "pretrained backbone's output on clean ones: set input to files"
                )
        if self.head == "imagenet":
            needed = {"pretrained": True, "starts_from": None, "unfreeze": 0, "augment": False}
            for key, value in {**needed, "dropout": 0, "epochs": 1, "share": 1}.items():
                if (given := getattr(self, key)) != value:
                    raise ValueError(f"head 'imagenet' learns nothing and needs {key} {value}, not {given}")
        if self.starts_from is not None and not self.pretrained:
            cause = f"pretrained false draws random weights, but starts_from is {self.starts_from!r}"
            raise ValueError(f"{cause}: set it to null")
        return self


AnyVariant = Annotated[PlainVariant | ResidualVariant | DenseVariant | BackboneVariant, Field(discriminator="network")]


def trace_block(name: str, blocks: Mapping[str, Any]) -> list[str]:
    """List the names of a block, of the one that it is like, and of the one that this is like.

    Raises:
        InputError: `like` names no block, or goes deeper.
    """
    line = [name]
    while isinstance(block := blocks[line[-1]], Mapping) and "like" in block:
        other = block["like"]
        if not isinstance(other, str) or other not in blocks or other in line:
            others = show_text(", ".join(key for key in blocks if key not in line), 300)
            name = show_text(line[-1], 120)
            raise InputError(f"params: variants.{name}.like is {quote_value(other)}: it must name one of {others}")
        line.append(other)
        if len(line) > 1 + DEEPEST:
            depth = f"{len(line) - 1} blocks deep ({show_text(' > '.join(line), 300)})"
            raise InputError(f"params: variants.{show_text(name, 120)}.like goes {depth}: {DEEPEST} at most")
    return line


def resolve_blocks(blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Replace `like` in the blocks of `variants` by the keys of the block that it names.

    Raises:
        InputError: `like` names no block, or goes too deep.
    """
    resolved = dict(blocks)
    for name, block in blocks.items():
        if isinstance(block, Mapping) and "like" in block:
            whole: dict[str, Any] = {}
            for ancestor in reversed(trace_block(name, blocks)):
                whole |= blocks[ancestor] if isinstance(blocks[ancestor], Mapping) else {}
            del whole["like"]
            resolved[name] = whole
    return resolved
