"""`cvd compare`: variants side by side, from what lies in predictions/ and metrics/, or across seeds."""

import argparse
from collections.abc import Sequence
from typing import Any

from cvd.commands.networks import order_names
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json, render_json
from cvd.runtime.params.loading import load_params
from cvd.runtime.project import find_root


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what may be typed after `cvd compare`."""
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="default: all that have been evaluated")
    seeds_help = "mean and spread over the experiments that differ in `seed` only"
    parser.add_argument("--seeds", action="store_true", help=seeds_help)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="all figures, in full precision")
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="a row per variant")
    parser.set_defaults(form="markdown")


def print_comparison(args: argparse.Namespace) -> int:
    """Print Markdown to paste, or CSV, or JSON.

    Raises:
        InputError: a variant was not evaluated, or the variants were tested on different images.
    """
    text = compare_seeds(args.variants, args.form) if args.seeds else compare_files(args.variants, args.form)
    print(text, end="")
    return 0


def compare_files(variants: Sequence[str], form: str) -> str:
    """Compare any variants as the stage does, with what their training cost."""
    from cvd.evaluation.comparison import compare_variants, summarise_timing
    from cvd.evaluation.measures import read_predictions
    from cvd.evaluation.tables import render_markdown, tabulate_comparison

    root = find_root()
    params = load_params(root / "params.yaml")
    measured = {path.stem for path in root.glob("predictions/*.csv") if (root / f"metrics/{path.stem}.json").is_file()}
    evaluated = order_names(measured, params.variants)
    if not evaluated:
        raise InputError("no variant has been evaluated: run `dvc repro` or `dvc pull`")
    names = list(dict.fromkeys(variants)) or evaluated
    for name in names:
        if name not in (*evaluated, *params.variants):
            raise InputError(f"variant {name!r} is unknown: there are {', '.join(evaluated)}")
    metrics = {name: read_json(root / f"metrics/{name}.json") for name in names}
    predictions = {name: read_predictions(root / f"predictions/{name}.csv") for name in names}
    comparison = compare_variants(predictions, metrics, **params.compare.model_dump())
    timings = {
        name: summarise_timing(read_json(path), best_epoch=figures["overfitting"]["best_epoch"])
        for name, figures in metrics.items()
        if (path := root / f"models/{name}.timing.json").is_file()
    }
    if form == "json":
        return render_json(comparison | {"timings": timings})
    if form == "csv":
        table, costs = tabulate_comparison(comparison), dict[str, Any](timings)
        for key in ("seconds", "images_per_second"):
            table[key] = [costs.get(name, {}).get(key) for name in table["variant"]]
        return table.to_csv(index=False, lineterminator="\n")
    return render_markdown(comparison, timings)


def compare_seeds(variants: Sequence[str], form: str) -> str:
    """Mean and spread of each variant over the seeds that were tried, and the differences that outlast them."""
    from cvd.commands.seeds import gather_seeds, render_seeds, summarise_seeds
    from cvd.runtime.experiments import read_outcomes

    runs = gather_seeds(read_outcomes(find_root()), variants)
    for name in variants:
        if name not in runs:
            raise InputError(f"variant {name!r} has no finished experiment: there are {', '.join(runs) or 'none'}")
    if max((len(outcomes) for outcomes in runs.values()), default=0) < 2:
        advice = "queue some with `dvc exp run --queue -S 'seed=range(2,6)'`, then `dvc queue start`"
        raise InputError(f"no variant was trained with two seeds: {advice}")
    summary = summarise_seeds(runs)
    if form == "csv":
        rows = [
            f"{row['variant']},{seed},{accuracy!r},{experiment}"
            for row in summary["variants"]
            for seed, accuracy, experiment in zip(row["seeds"], row["accuracies"], row["experiments"], strict=True)
        ]
        return "\n".join(["variant,seed,test_accuracy,experiment", *rows]) + "\n"
    return render_json(summary) if form == "json" else render_seeds(summary)
