"""`cvd sync`: what MLflow lacks, from the project's files."""

import argparse
import contextlib

from cvd.runtime.params.loading import load_params
from cvd.tracking import find_root, store_uri, sync_workspace


def add_options(parser: argparse.ArgumentParser) -> None:
    """Nothing may be typed after `cvd sync`."""


def sync_results(_: argparse.Namespace) -> int:
    """Completes MLflow from the project's files."""
    with contextlib.chdir(find_root()):
        lines = sync_workspace(load_params().model_dump(mode="json"))
        place = store_uri()
    if lines is None:
        return 1
    print(*(lines or [f"MLflow at {place} has everything that is here"]), sep="\n")
    return 0
