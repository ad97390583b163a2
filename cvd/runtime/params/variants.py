"""The blocks of params.yaml's `variants`: their keys, types and ranges, and what `like` means."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, WrapValidator, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cvd.runtime.errors import InputError, quote_value, show_text
from cvd.runtime.params.networks import list_networks, parse_keys, read_builder
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

    @field_validator("network")
    @classmethod
    def _check_network(cls, name: str) -> str:
        if find_kind(name) is None:
            accepted = f"should be {', '.join(map(repr, list_networks()))} or 'backbone'"
            advice = "a network of your own is cvd/models/scratch/NAME.py with build_NAME"
            raise PydanticCustomError("network", f"{accepted}; {advice}")
        return name

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        if self.weight_decay and self.optimizer != "adamw":
            cause = f"weight_decay {self.weight_decay:g} is adamw's, but optimizer is {self.optimizer!r}"
            raise ValueError(f"{cause}: set weight_decay to 0, or use l2")
        return self


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


def find_kind(network: object) -> type[Variant] | None:
    """Find what a block of that network holds; None where there is no such network.

    Raises:
        InputError: the function that builds it cannot be read.
    """
    if network == "backbone":
        return BackboneVariant
    text = read_builder(network)
    return None if text is None else _make_kind(str(network), text)


@cache
def _make_kind(network: str, text: bytes) -> type[Variant]:
    keys = {key: (kind, ...) for key, kind in parse_keys(network, text).items() if key not in Variant.model_fields}
    if taken := [key for key in keys if key == "like" or key.startswith("_") or hasattr(Variant, key)]:
        raise InputError(f"cvd/models/scratch/{network}.py: {taken[0]!r} cannot be a key in params.yaml: rename it")
    common = {"input": (Literal["files", "shards"], ...), "network": (Literal[network], ...)}
    place = f"cvd.models.scratch.{network}"
    return create_model(f"{network}Variant", __base__=Variant, __module__=place, **common, **keys)  # type: ignore[call-overload, no-any-return]


def _check_block(block: object, check: Callable[[object], Any]) -> Any:
    if not isinstance(block, Mapping):
        return check(block)
    if kind := find_kind(block.get("network")):
        return kind.model_validate(block)
    return check({key: value for key, value in block.items() if key in Variant.model_fields})  # its network is refused


AnyVariant = Annotated[SerializeAsAny[Variant], WrapValidator(_check_block)]


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

    Of a block of another network, this network's own keys are left out.

    Raises:
        InputError: `like` names no block, or goes too deep.
    """
    resolved = dict(blocks)
    for name, block in blocks.items():
        if isinstance(block, Mapping) and "like" in block:
            whole: dict[str, Any] = {}
            for ancestor in reversed(trace_block(name, blocks)):
                given = blocks[ancestor] if isinstance(blocks[ancestor], Mapping) else {}
                if "network" in given and (kind := find_kind(given["network"])):
                    whole = {key: value for key, value in whole.items() if key in kind.model_fields}
                whole |= given
            del whole["like"]
            resolved[name] = whole
    return resolved
