"""`cvd runs` and `cvd sync`: MLflow's runs listed, and completed from the project's files."""

import argparse
import contextlib

from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import load_params
from cvd.runtime.project import find_root, store_uri
from cvd.tracking import list_runs, sync_workspace


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd runs`."""
    parser.add_argument("experiment", nargs="?", help="DVC's name of it, as in `dvc exp show`, or workspace")
    parser.add_argument("--page", action="store_true", help="only the page in MLflow's UI that shows them")


def print_runs(args: argparse.Namespace) -> int:
    """Print a table of runs and the page that shows them in MLflow's UI.

    Raises:
        InputError: there is no such experiment, or it has no runs.
    """
    with contextlib.chdir(find_root()):
        listing = list_runs(args.experiment)
        server = store_uri().rstrip("/")
    if listing is None:
        return 1
    if args.experiment and not listing.rows:
        if args.experiment in listing.experiments:
            hint = f"`dvc exp apply {args.experiment}`, then `cvd sync`"
            raise InputError(f"experiment {args.experiment} has no runs in MLflow: {hint}")
        known = ", ".join(listing.experiments) or "none yet"
        raise InputError(f"experiment {args.experiment!r} is not known: there are {known}")
    address = server if server.startswith("http") else "`make ui`, then http://127.0.0.1:5000"
    print(listing.page if args.page else f"{listing.format_table()}\n\nTheir curves: {address}{listing.page}")
    return 0


def sync_results(_: argparse.Namespace) -> int:
    """Complete MLflow from the project's files."""
    with contextlib.chdir(find_root()):
        lines = sync_workspace(load_params().model_dump(mode="json"))
        place = store_uri()
    if lines is None:
        return 1
    print(*(lines or [f"MLflow at {place} has everything that is here"]), sep="\n")
    return 0
