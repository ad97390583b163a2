"""params.yaml as frozen, validated objects. Unknown keys and bad ranges are refused in one line."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from cvd.runtime.errors import InputError, describe_faults, quote_value, show_text
from cvd.runtime.files import YamlLoader
from cvd.runtime.params import sections
from cvd.runtime.params.sections import Section
from cvd.runtime.params.sources import Data
from cvd.runtime.params.variants import AnyVariant, BackboneVariant, find_kind, resolve_blocks, trace_block

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")  # YAML reads them as something else than text
# What PyYAML raises besides its own errors: on `!!int x`, 2020-99-99, brackets without end.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
TAKEN = ("comparison", "data", "labels", "timings")  # files in metrics/ that are no variant's


class Params(Section):
    """All of params.yaml."""

    seed: sections.Seed
    data: Data
    split: sections.Split
    image: sections.Image
    shard: sections.Shard
    backbone: sections.Backbone
    train: sections.Train
    augment: sections.Augment
    variants: dict[str, AnyVariant] = Field(min_length=1)
    evaluate: sections.Evaluate
    compare: sections.Compare
    augmentations: sections.Augmentations
    activations: sections.Activations
    filters: sections.Filters
    gradcam: sections.GradCam
    explanations: sections.Explanations
    labels: sections.Labels
    probes: sections.Probes
    _blocks: dict[str, Any] = PrivateAttr(default_factory=dict)  # of `variants`, as they are written

    def trace(self, name: str) -> list[str]:
        """The variant's name, and those of the blocks that it is like: one to three."""
        return trace_block(name, self._blocks)

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        for name, variant in self.variants.items():
            if name in TAKEN:
                raise ValueError(f"variants has {name!r}, but metrics/{name}.json is another file: choose another name")
            depth = getattr(variant, "depth", 0) if variant.network == "plain" else 0
            if self.image.size_px < (least := 3 * 2**depth - 2):
                need = f"so many convolutions need image.size_px of at least {least}, but it is {self.image.size_px}"
                raise ValueError(f"variants.{name}.depth is {depth}: {need}")
        return self

    @model_validator(mode="after")
    def _check_variants(self) -> Self:
        for name, variant in self.variants.items():
            if isinstance(variant, BackboneVariant) and (start := variant.starts_from) is not None:
                key = f"variants.{name}.starts_from"
                if start not in self.variants:
                    raise ValueError(f"{key} names {start!r}, which is not one of {', '.join(self.variants)}")
                if start == name or self.variants[start].network != "backbone":
                    raise ValueError(f"{key} is {start!r}: it must name another of the backbone's")
        return self


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and validate a params.yaml.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown or absent, a value is out of range.
    """
    return parse_params(parse_yaml(read_text(path), path))


def read_text(path: str | Path) -> str:
    """Read a text file of the project's root folder; an InputError says that it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start:,} is {error.object[error.start]:#04x}"
        raise InputError(f"{path} is not UTF-8 ({byte}): save it as UTF-8 text") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; run from the project's root folder") from error


def parse_yaml(text: str, path: str | Path = "params.yaml") -> Any:
    """Parse YAML as DVC does.

    Raises:
        InputError: it is not YAML; the message names `path`.
    """
    try:
        return yaml.load(text, YamlLoader)
    except (yaml.YAMLError, *_UNREADABLE) as error:
        raise InputError(f"{path} is not valid YAML: {show_text(str(error), 300) or type(error).__name__}") from error


def parse_params(raw: Any) -> Params:
    """Validate what a params.yaml holds; `like` is replaced by the keys of the block that it names.

    Raises:
        InputError: a key is unknown or absent, a value is out of range.
    """
    if raw is None:
        raise InputError(f"params: params.yaml is empty: it should hold the sections {', '.join(Params.model_fields)}")
    blocks = raw.get("variants") if isinstance(raw, dict) else None
    if isinstance(blocks, dict):
        _check_names(blocks)
        raw = {**raw, "variants": resolve_blocks(blocks)}
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        keys = {section.__name__: list(section.model_fields) for section in Section.__subclasses__()}
        # Of what is wrong with a block, that it was written for another network says most.
        located = (_locate_fault(fault, raw) for fault in error.errors(include_url=False))
        faults = sorted(located, key=lambda fault: fault["type"] != "value_error")
        raise InputError(f"params: {describe_faults(faults, keys)}") from error
    params._blocks = blocks or {}
    return params


def _check_names(blocks: dict[Any, Any]) -> None:
    for name in blocks:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _WORDS:
            rule = "files are named by it, so it must begin with a letter and hold letters, digits, _ and - only"
            raise InputError(f"params: variants has {quote_value(name)}: {rule}")


def _locate_fault(fault: "ErrorDetails", raw: Any) -> "ErrorDetails":
    """Say of a variant's key that another network takes that it does not fit this one."""
    if fault["type"] != "extra_forbidden" or fault["loc"][:1] != ("variants",):
        return fault
    _, name, key, *_ = fault["loc"]
    networks = [block.get("network") for block in raw["variants"].values() if isinstance(block, dict)]
    kinds = {str(network): kind for network in networks if (kind := find_kind(network))}
    if not any(key in kind.model_fields for kind in kinds.values()):
        return fault
    network = raw["variants"][name]["network"]
    message = f"does not fit network {network!r}, which takes {', '.join(kinds[network].model_fields)}"
    return {**fault, "type": "value_error", "msg": message}
