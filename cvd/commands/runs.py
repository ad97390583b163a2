"""`cvd runs`, `cvd sync`, `cvd promote`: MLflow's runs listed, completed from files, and one's model in use."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.params.editing import replace_value
from cvd.runtime.params.loading import load_params
from cvd.runtime.project import find_root, show_uri, store_uri
from cvd.tracking import list_runs, promote_variant, sync_workspace

HEADINGS = ("run", "what", "test", "gap", "status", "run id")
PIPELINE = Path("dvc.yaml")
ARTIFACT = ("artifacts", "champion", "path")  # in it


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
    if args.experiment and not listing.runs:
        if args.experiment in listing.experiments:
            hint = f"`dvc exp apply {args.experiment}`, then `cvd sync`"
            raise InputError(f"experiment {args.experiment} has no runs in MLflow: {hint}")
        known = ", ".join(listing.experiments) or "none yet"
        raise InputError(f"experiment {args.experiment!r} is not known: there are {known}")
    address = server if server.startswith("http") else "`make ui`, then http://127.0.0.1:5000"
    table = format_table(listing.runs, args.experiment)
    print(listing.page if args.page else f"{table}\n\nTheir curves: {address}{listing.page}")
    return 0


def format_table(runs: Sequence[Any], experiment: str | None) -> str:
    """Format runs, a row each, in columns of even width; `experiment` tells what is reused in it."""
    rows = [HEADINGS, *(_describe(run, experiment) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _describe(run: Any, experiment: str | None) -> tuple[str, ...]:
    tags, metrics = run.data.tags, run.data.metrics
    what = {"training": "trained", "evaluation": "evaluated"}.get(tags.get("kind", ""), "")
    if experiment not in (None, tags.get("dvc.exp_name")):
        what = "reused"
    test, gap = metrics.get("test/accuracy"), metrics.get("overfitting/accuracy_gap")
    figures = ("" if test is None else f"{test:.4f}", "" if gap is None else f"{gap:+.4f}")
    return (str(run.info.run_name), what, *figures, str(run.info.status), str(run.info.run_id))


def sync_results(_: argparse.Namespace) -> int:
    """Complete MLflow from the project's files and DVC's cache; 1 where something was set aside."""
    with contextlib.chdir(find_root()):
        synced = sync_workspace(load_params().model_dump(mode="json"))
        place = store_uri()
    if synced is None:
        return 1
    if synced.sent or not synced.faults:
        print(*(synced.sent or [f"MLflow at {show_uri(place)} has everything that is here"]), sep="\n")
    for fault in synced.faults:
        print(f"warning: {fault}", file=sys.stderr)
    return 1 if synced.faults else 0


def add_options_of_promote(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd promote`."""
    help_text = "a variant of the working folder, or of an experiment as `cvd runs` lists it"
    parser.add_argument("network", metavar="VARIANT|EXPERIMENT/VARIANT", help=help_text)


def promote_network(args: argparse.Namespace) -> int:
    """Register a network in MLflow as the champion, and name the same in dvc.yaml's `artifacts`.

    Raises:
        InputError: there is no such network.
    """
    experiment, _, variant = args.network.rpartition("/")
    with contextlib.chdir(find_root()):
        said = promote_variant(load_params().model_dump(mode="json"), variant, experiment or None)
        if said is None:
            return 1
        print(said)
        if experiment:
            print(f"its files: `dvc exp apply {experiment}`; then `cvd promote {variant}` names them in {PIPELINE} too")
            return 0
        text = replace_value(PIPELINE.read_text(encoding="utf-8"), ARTIFACT, f"models/{variant}.keras")
        with replace_file(PIPELINE) as partial:
            partial.write_text(text, encoding="utf-8")
    print(f"{PIPELINE}: champion is models/{variant}.keras, for `dvc artifacts get`; commit it")
    return 0
