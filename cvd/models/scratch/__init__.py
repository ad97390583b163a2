"""Networks trained from nothing, a module each: NAME.py has build_NAME, whose parameters are a block's keys."""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

import keras


def choose_builder(variant: Mapping[str, Any], *, size_px: int) -> partial[keras.Model]:
    """Find the function that builds a variant's network, and give it what it takes but `dtype` and `for_training`."""
    name = variant["network"]
    build = getattr(import_module(f"cvd.models.scratch.{name}"), f"build_{name}")
    given = {**variant, "size_px": size_px}
    return partial(build, **{key: given[key] for key in signature(build).parameters if key in given})
