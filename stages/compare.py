"""Compare: all variants on the same test images, in numbers, words and figures."""

import argparse
import json
from pathlib import Path
from typing import Any

from cvd.evaluation.comparison import compare_variants, summarise_timing
from cvd.evaluation.measures import read_predictions, render_json
from cvd.evaluation.overfitting import read_history, tabulate_curves
from cvd.evaluation.tables import render_markdown, tabulate_comparison, tabulate_pairs
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file, replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import run_stage
from cvd.vis.charts.curves import draw_curves
from cvd.vis.charts.forests import draw_differences, draw_overfitting
from cvd.vis.charts.themes import save_figure

FIGURES = ("curves.png", "differences.png")  # for MLflow


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", required=True)
    for name in ("predictions", "metrics-folder", "models", "comparison", "timings", "plots"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def read_json(path: Path, command: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: make it with `{command}`") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: make it anew with `{command.replace('repro', 'repro -f')}`") from error


def work(args: argparse.Namespace) -> None:
    params = load_params().compare
    names = list(dict.fromkeys(args.variants))
    metrics = {name: read_json(args.metrics_folder / f"{name}.json", f"dvc repro evaluate@{name}") for name in names}
    predictions = {name: read_predictions(args.predictions / f"{name}.csv") for name in names}
    curves = {name: tabulate_curves(read_history(args.models / f"{name}.history.csv")) for name in names}
    best_epochs = {name: found["overfitting"]["best_epoch"] for name, found in metrics.items()}
    timings = {
        name: summarise_timing(
            read_json(args.models / f"{name}.timing.json", f"dvc repro train@{name}"), best_epoch=best_epochs[name]
        )
        for name in names
    }
    comparison = compare_variants(predictions, metrics, n_bootstrap=params.n_bootstrap, seed=params.seed)
    with replace_folder(args.plots) as folder:
        save_figure(draw_curves(curves, best_epochs=best_epochs), folder / "curves.png")
        save_figure(draw_overfitting(comparison["overfitting"]), folder / "overfitting.png")
        if comparison["pairs"]:
            save_figure(draw_differences(comparison["pairs"]), folder / "differences.png")
        for name, table in (("comparison", tabulate_comparison), ("pairs", tabulate_pairs)):
            table(comparison).to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        (folder / "comparison.md").write_text(render_markdown(comparison), encoding="utf-8")
    for path, value in ((args.comparison, comparison), (args.timings, timings)):
        with replace_file(path) as partial:
            partial.write_text(render_json(value), encoding="utf-8")
    print(*comparison["verdict"], *(pair["sentence"] for pair in comparison["pairs"]), sep="\n")
    track(args, names)


def track(args: argparse.Namespace, names: list[str]) -> None:
    """Adds the figures of all variants to the runs that this experiment has of its own."""
    from cvd import tracking

    files = [path for name in FIGURES if (path := args.plots / name).is_file()]
    for name in names:
        model = args.models / f"{name}.keras"
        if model.is_file():  # figures can be compared without the models
            tracking.add_to_run(variant=name, model_path=model, files=files, folder="comparison", only_own=True)


def main() -> None:
    args = parse_arguments()
    run_stage(lambda: work(args), "compare")


if __name__ == "__main__":
    main()
