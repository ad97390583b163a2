"""What is tried: the product of the values that were typed, or a random sample of it, checked before any training."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import Params, parse_params, parse_yaml
from cvd.runtime.revisions.differences import show_value

SECTIONS = ("augment", "train")  # that a search may vary beside the variant's block; others make other data
FIXED = ("train.threads", "train.strategy")  # of the process that trains all points
MOST = 1000  # points
Settings = dict[str, list[Any]]


@dataclass(frozen=True)
class Point:
    """One combination: its settings by the names that were typed, and params.yaml with them."""

    settings: Mapping[str, Any]
    label: str  # what tells it from the others: `width=8 dropout=0.5`
    params: Params


def parse_settings(texts: Sequence[str]) -> Settings:
    """Parse what was typed, such as `width=8,16,32`.

    Raises:
        InputError: it is not KEY=VALUE,VALUE, or a key or value comes twice.
    """
    settings: Settings = {}
    for text in texts:
        key, equals, values = text.partition("=")
        parsed = [parse_yaml(value) for value in values.split(",")]
        if not equals or not key or "" in values.split(","):
            raise InputError(f"{text!r} is no setting: write KEY=VALUE,VALUE such as width=8,16,32")
        if key in settings or len({repr(value) for value in parsed}) < len(parsed):
            raise InputError(f"{text!r} says a key or a value twice")
        settings[key] = parsed
    return settings


def list_points(raw: Mapping[str, Any], base: str, settings: Settings, *, n: int | None, seed: int) -> list[Point]:
    """List the points of a search in the order in which they are tried; each is checked as params.yaml is.

    Args:
        raw: params.yaml as parsed.
        base: the variant that is varied.
        settings: as of `parse_settings`; a key is of the variant's block, or `seed`, or names its section: SECTIONS.
        n: how many points are drawn at random from the product, without repetition; None: all of it.
        seed: of these draws.

    Raises:
        InputError: there is no such variant or key, a value is out of range, there are too many points.
    """
    params = parse_params(raw)
    if base not in params.variants:
        raise InputError(f"variant {base!r} is not in params.yaml: expected one of {', '.join(params.variants)}")
    combinations = list(product(*settings.values()))
    if n is not None and n < len(combinations):
        chosen = sorted(random.Random(seed).sample(range(len(combinations)), n))
        combinations = [combinations[place] for place in chosen]
    if len(combinations) > MOST:
        raise InputError(
            f"the product has {len(combinations):,} points, {MOST:,} at most: draw some of them with --n 20"
        )
    points = []
    for values in combinations:
        one = dict(zip(settings, values, strict=True))
        told = {key: value for key, value in one.items() if len(settings[key]) > 1} or one
        label = " ".join(f"{key}={show_value(value)}" for key, value in told.items()) or "as it is"
        points.append(Point(one, label, _vary(raw, params, base, one)))
    return points


def _vary(raw: Mapping[str, Any], params: Params, base: str, settings: Mapping[str, Any]) -> Params:
    varied = dict(raw)
    block = params.variants[base].model_dump()
    for key, value in settings.items():
        section, dot, name = key.partition(".")
        if key in FIXED:
            raise InputError(f"{key!r} cannot be searched: one process trains all networks; set it in params.yaml")
        if dot and section in SECTIONS:
            varied[section] = {**varied[section], name: value}
        elif key == "seed":
            varied["seed"] = value
        elif dot:
            accepted = f"seed, {', '.join(f'{name}.KEY' for name in SECTIONS)}"
            raise InputError(f"{key!r} cannot be searched: expected a key of variants.{base}, or {accepted}")
        else:
            block[key] = value
    varied["variants"] = {**raw["variants"], base: block}
    return parse_params(varied)
