"""`cvd compare`: variants side by side, two revisions, or a variant across seeds."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.commands.evidence.formats import render_csv, render_latex
from cvd.commands.networks import order_names
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json, render_json
from cvd.runtime.params.loading import TAKEN, Params, load_params
from cvd.runtime.project import find_root

if TYPE_CHECKING:
    import pandas as pd


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what may be typed after `cvd compare`."""
    names_help = (
        "variants, by default all that have been evaluated; or two revisions, old and new: an experiment's name, HEAD, "
        "workspace, what git knows; one alone is held against the commit that it started from"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=names_help)
    seeds_help = "mean and spread over the experiments that differ in `seed` only"
    parser.add_argument("--seeds", action="store_true", help=seeds_help)
    parser.add_argument("--variant", action="append", help="of two revisions this variant only; may be repeated")
    sheet_help = "of two revisions: draw the images whose answer turned, with both networks' heat maps"
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help=sheet_help)
    ladder_help = "with --seeds: draw the ladder of cures, with intervals over the seeds"
    parser.add_argument("--ladder", type=Path, metavar="FILE.png", help=ladder_help)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="all figures, in full precision")
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="a row per variant")
    form.add_argument("--latex", action="store_const", const="latex", dest="form", help="the tables, for a paper")
    parser.set_defaults(form="markdown")


def print_comparison(args: argparse.Namespace) -> int:
    """Print Markdown to paste, or LaTeX, CSV or JSON.

    Raises:
        InputError: a variant was not evaluated, variants were tested on different images, or a name is of nothing.
    """
    root = find_root()
    params = load_params(root / "params.yaml")
    known = {*params.variants, *list_evaluated(root, params)}
    revisions = [] if args.seeds else [name for name in args.names if name not in known]
    if not revisions and (args.variant or args.sheet):
        raise InputError("--variant and --sheet need revisions, such as `cvd compare HEAD workspace --sheet turns.png`")
    if args.ladder and not args.seeds:
        raise InputError("--ladder draws intervals over seeds: add --seeds")
    form = "markdown" if args.form == "latex" else args.form
    if args.seeds:
        text = compare_seeds(root, args.names, form, ladder=args.ladder)
    elif not revisions:
        text = compare_files(root, params, args.names, form)
    else:
        text = compare_revisions(root, params, args, form, mixed=[name for name in args.names if name in known])
    print(render_latex(text) if args.form == "latex" else text, end="")
    return 0


def list_evaluated(root: Path, params: Params) -> list[str]:
    """List the variants with predictions and metrics in the working folder, in params.yaml's order."""
    measured = {path.stem for path in root.glob("predictions/*.csv") if (root / f"metrics/{path.stem}.json").is_file()}
    return order_names(measured - set(TAKEN), params.variants)


def compare_files(root: Path, params: Params, variants: Sequence[str], form: str) -> str:
    """Compare any variants as the stage does, with what their training cost."""
    from cvd.evaluation.comparison import compare_variants, summarise_timing
    from cvd.evaluation.measures import read_predictions
    from cvd.evaluation.tables import render_markdown, tabulate_comparison

    names = list(dict.fromkeys(variants)) or list_evaluated(root, params)
    if not names:
        raise InputError("no variant has been evaluated: run `dvc repro` or `dvc pull`")
    metrics = {name: read_json(root / f"metrics/{name}.json") for name in names}
    predictions = {name: read_predictions(root / f"predictions/{name}.csv") for name in names}
    blocks = {name: block.model_dump() for name, block in params.variants.items()}
    comparison = compare_variants(predictions, metrics, blocks, **params.compare.model_dump())
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
        return render_csv(table)
    return render_markdown(comparison, timings)


def compare_revisions(root: Path, params: Params, args: argparse.Namespace, form: str, *, mixed: Sequence[str]) -> str:
    """Compare two revisions, or one with the commit that it started from; draw what turned, if asked."""
    from cvd.commands.evidence.flips import draw_flips
    from cvd.commands.evidence.pairs import compare_pair, render_pair
    from cvd.runtime.revisions.contents import open_baseline, open_revision

    try:
        revisions = [open_revision(name, root) for name in args.names if name not in mixed]
    except InputError as error:
        raise InputError(f"{error}; variants are {', '.join(list_evaluated(root, params)) or 'none yet'}") from None
    if mixed:
        raise InputError(f"{mixed[0]!r} is a variant and {revisions[0].name!r} is none: compare variants, or revisions")
    if len(revisions) > 2:
        raise InputError(f"{len(revisions)} revisions were given: two can be compared, or one with its baseline")
    before, after = revisions if len(revisions) == 2 else (open_baseline(revisions[0]), revisions[0])
    pair = compare_pair(before, after, args.variant)
    if args.sheet:
        draw_flips(pair, before, after, args.sheet, method=params.gradcam.method)
    return render_pair(pair, form)


def compare_seeds(root: Path, variants: Sequence[str], form: str, *, ladder: Path | None = None) -> str:
    """Mean and spread of each variant over the seeds that were tried, and the differences that outlast them."""
    import pandas as pd

    from cvd.commands.evidence.seeds import gather_seeds, render_seeds, summarise_seeds, tabulate_ladder
    from cvd.runtime.experiments import read_outcomes

    runs = gather_seeds(read_outcomes(root), variants)
    for name in variants:
        if name not in runs:
            raise InputError(f"variant {name!r} has no finished experiment: there are {', '.join(runs) or 'none'}")
    if max((len(outcomes) for outcomes in runs.values()), default=0) < 2:
        advice = "queue some with `dvc exp run --queue -S 'seed=range(2,6)'`, then `dvc queue start`"
        raise InputError(f"no variant was trained with two seeds: {advice}")
    if ladder:
        _draw_ladder(tabulate_ladder(runs), ladder)
    summary = summarise_seeds(runs)
    if form == "csv":
        rows = [
            (row["variant"], seed, accuracy, experiment)
            for row in summary["variants"]
            for seed, accuracy, experiment in zip(row["seeds"], row["accuracies"], row["experiments"], strict=True)
        ]
        return render_csv(pd.DataFrame(rows, columns=["variant", "seed", "test_accuracy", "experiment"]))
    return render_json(summary) if form == "json" else render_seeds(summary)


def _draw_ladder(table: "pd.DataFrame", path: Path) -> None:
    from cvd.runtime.files import replace_file
    from cvd.vis.charts.cures import draw_cures
    from cvd.vis.charts.themes import save_figure

    with replace_file(path) as partial:
        save_figure(draw_cures(table), partial)
