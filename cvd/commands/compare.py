"""`cvd compare`: variants side by side, from what lies in predictions/ and metrics/, or across seeds."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import load_params
from cvd.tracking import find_root


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be typed after `cvd compare`."""
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="default: all that have been evaluated")
    parser.add_argument(
        "--seeds", action="store_true", help="mean and spread over the experiments that differ in `seed` only"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="all figures, in full precision")
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="a row per variant")
    parser.set_defaults(form="markdown")


def print_comparison(args: argparse.Namespace) -> int:
    """Prints Markdown to paste, or CSV, or JSON.

    Raises:
        InputError: a variant was not evaluated, or the variants were tested on different images.
    """
    text = compare_seeds(args.variants, args.form) if args.seeds else compare_files(args.variants, args.form)
    print(text, end="")
    return 0


def compare_files(variants: Sequence[str], form: str) -> str:
    """The comparison of the `compare` stage for any variants, with what their training cost."""
    from cvd.evaluation.comparison import compare_variants, summarise_timing
    from cvd.evaluation.measures import read_predictions, render_json
    from cvd.evaluation.tables import render_markdown, tabulate_comparison

    root = find_root()
    params = load_params(root / "params.yaml")
    evaluated = find_evaluated(root, list(params.variants))
    if not evaluated:
        raise InputError("no variant has been evaluated: run `dvc repro` or `dvc pull`")
    names = list(dict.fromkeys(variants)) or evaluated
    for name in names:
        if name not in (*evaluated, *params.variants):
            raise InputError(f"variant {name!r} is unknown: there are {', '.join(evaluated)}")
    metrics = {name: read_json(root / "metrics" / f"{name}.json", name) for name in names}
    predictions = {name: read_predictions(root / "predictions" / f"{name}.csv") for name in names}
    options = params.compare
    comparison = compare_variants(predictions, metrics, n_bootstrap=options.n_bootstrap, seed=options.seed)
    paths = {name: root / "models" / f"{name}.timing.json" for name in names}
    timings = {
        name: summarise_timing(read_json(path, name), best_epoch=metrics[name]["overfitting"]["best_epoch"])
        for name, path in paths.items()
        if path.is_file()
    }
    if form == "json":
        return render_json(comparison | {"timings": timings})
    if form == "csv":
        table = tabulate_comparison(comparison)
        for name in ("seconds", "images_per_second"):
            table[name] = [timings.get(variant, {}).get(name) for variant in table["variant"]]
        return table.to_csv(index=False, lineterminator="\n")
    return render_markdown(comparison, timings)


def find_evaluated(root: Path, order: Sequence[str]) -> list[str]:
    """Variants with both predictions and metrics here, those of params.yaml first and in its order."""
    found = sorted(
        path.stem for path in (root / "predictions").glob("*.csv") if (root / "metrics" / f"{path.stem}.json").is_file()
    )
    return [name for name in order if name in found] + [name for name in found if name not in order]


def read_json(path: Path, variant: str) -> dict[str, Any]:
    """Raises InputError with the command that makes the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or not JSON: make it with `dvc repro evaluate@{variant}`") from error


def compare_seeds(variants: Sequence[str], form: str) -> str:
    """Mean and spread of each variant over the seeds that were tried, and the differences that outlast them."""
    from cvd.commands.seeds import gather_seeds, render_seeds, summarise_seeds
    from cvd.evaluation.measures import render_json
    from cvd.runtime.experiments import read_outcomes

    runs = gather_seeds(read_outcomes(find_root()), variants)
    for name in variants:
        if name not in runs:
            raise InputError(f"variant {name!r} has no finished experiment: there are {', '.join(runs) or 'none'}")
    if max((len(found) for found in runs.values()), default=0) < 2:
        raise InputError(
            "no variant was trained with two seeds: queue some with `dvc exp run --queue -S 'seed=range(2,6)'`, "
            "then `dvc queue start`"
        )
    summary = summarise_seeds(runs)
    if form == "csv":
        rows = [
            f"{row['variant']},{seed},{accuracy!r},{experiment}"
            for row in summary["variants"]
            for seed, accuracy, experiment in zip(row["seeds"], row["accuracies"], row["experiments"], strict=True)
        ]
        return "\n".join(["variant,seed,test_accuracy,experiment", *rows]) + "\n"
    return render_json(summary) if form == "json" else render_seeds(summary)
