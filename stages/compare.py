"""Compare: all variants on the same test images, in numbers, words and figures."""

import argparse

from cvd.evaluation.comparison import compare_variants, summarise_timing
from cvd.evaluation.lesson.cures import render_cures, tabulate_cures
from cvd.evaluation.lesson.sizes import describe_sizes, find_bases, render_sizes, tabulate_sizes
from cvd.evaluation.measures import evaluate_variant, read_predictions
from cvd.evaluation.overfitting import read_history, tabulate_curves
from cvd.evaluation.tables import render_markdown, tabulate_charts, tabulate_comparison, tabulate_pairs, write_table
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json, replace_folder, write_json
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.vis.charts.cures import draw_cures
from cvd.vis.charts.curves import draw_curves
from cvd.vis.charts.forests import draw_differences, draw_overfitting
from cvd.vis.charts.sizes import draw_sizes
from cvd.vis.charts.themes import save_figure


def main() -> None:
    args = read_arguments(__doc__, paths=("predictions", "models", "comparison", "timings", "plots"))
    run_stage(lambda: work(args), "compare")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    names = [name for name in params.variants if (args.predictions / f"{name}.csv").is_file()]
    if not names:
        raise InputError(f"{args.predictions} has no file of a variant in params.yaml: run `dvc repro`")
    predictions = {name: read_predictions(args.predictions / f"{name}.csv") for name in names}
    histories, metrics, timings = {}, {}, {}
    for name in names:
        training, timing = (read_json(args.models / f"{name}.{kind}.json") for kind in ("training", "timing"))
        histories[name] = read_history(args.models / f"{name}.history.csv")
        metrics[name] = evaluate_variant(predictions[name], histories[name], training, **params.evaluate.model_dump())
        timings[name] = summarise_timing(timing, best_epoch=metrics[name]["overfitting"]["best_epoch"])
    blocks = {name: params.variants[name].model_dump() for name in names}
    comparison = compare_variants(predictions, metrics, blocks, **params.compare.model_dump())
    bases = find_bases(blocks)
    cures = tabulate_cures(blocks, metrics, predictions)
    sizes = tabulate_sizes(bases, metrics, predictions, **params.compare.model_dump())

    tables = tabulate_charts(predictions, histories, calibration_bins=params.evaluate.calibration_bins)
    tables |= {"comparison": tabulate_comparison(comparison), "pairs": tabulate_pairs(comparison)}
    figures = {"curves": draw_curves({name: tabulate_curves(history) for name, history in histories.items()})}
    figures["overfitting"] = draw_overfitting(comparison["overfitting"])
    text, sentences = render_markdown(comparison), [pair["sentence"] for pair in comparison["pairs"]]
    if comparison["pairs"]:
        figures["differences"] = draw_differences(comparison["pairs"])
    if sizes is not None:
        tables["sizes"], figures["sizes"] = sizes, draw_sizes(sizes)
        text, sentences = f"{text}\n{render_sizes(sizes)}", sentences + describe_sizes(sizes)
    if cures is not None:
        tables["cures"], figures["cures"] = cures, draw_cures(cures)
        text = f"{text}\n{render_cures(cures)}"
    with replace_folder(args.plots) as folder:
        for name, table in tables.items():
            write_table(table, folder / f"{name}.csv")
        for name, figure in figures.items():
            save_figure(figure, folder / f"{name}.png")
        (folder / "comparison.md").write_text(text, encoding="utf-8")
    write_json(comparison, args.comparison)
    write_json(timings, args.timings)
    print(*comparison["verdict"], *sentences, sep="\n")


if __name__ == "__main__":
    main()
