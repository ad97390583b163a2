"""Report: one page with the verdict, its evidence, and how to get it again."""

import argparse
from pathlib import Path

from cvd import tracking
from cvd.runtime.files import replace_file
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.project import ask_changes, ask_git
from cvd.runtime.stage import read_arguments, run_stage

PATHS = ("metrics", "predictions", "heatmaps", "plots", "images", "manifest", "quarantine", "points", "report")


def main() -> None:
    args = read_arguments(__doc__, paths=PATHS)
    run_stage(lambda: work(args), "report")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    with tracking.Courier() as courier:
        courier.send(tracking.complete_results, params=params.model_dump(mode="json"))
        write_report(args, params)


def write_report(args: argparse.Namespace, params: Params) -> None:
    # Imports of a second, while another process loads MLflow.
    from cvd.data.images.manifest import read_manifest
    from cvd.evaluation.comparison import tell_changes
    from cvd.report.illustrations import start_charts
    from cvd.report.instrument.wall import build_wall
    from cvd.report.page import render_report
    from cvd.report.provenance import Trial, describe_code, describe_machine, list_versions
    from cvd.report.results import read_results
    from cvd.runtime.revisions.contents import find_former
    from cvd.runtime.revisions.reproduction import describe_run

    results = read_results(args.metrics, args.plots, args.quarantine)
    charts = start_charts(results)
    code = describe_code(ask_git("rev-parse", "HEAD"), ask_git("show", "-s", "--format=%cs", "HEAD"), ask_changes())
    origin, predictions = describe_run(), [args.predictions / f"{name}.csv" for name in results.variants]
    verdict = tell_changes(predictions, args.manifest, find_former([args.manifest, *predictions]))
    trial = Trial(origin.name, origin.baseline, origin.differences.describe(), verdict, origin.commands)
    manifest = read_manifest(args.manifest)
    page = render_report(
        results,
        charts=charts,
        manifest=manifest,
        plots=args.plots,
        provenance={"code": code, "versions": list_versions(), "machine": describe_machine()},
        wall=build_wall(
            manifest,
            results.variants,
            classes=results.classes,
            images=args.images,
            predictions=args.predictions,
            heatmaps=args.heatmaps,
            points=args.points,
        ),
        trial=trial,
        params=params.model_dump(),
        params_text=Path("params.yaml").read_text(encoding="utf-8"),
    )
    with replace_file(args.report) as partial:
        partial.write_text(page, encoding="utf-8")
    print(f"{args.report}: {len(page.encode()) / 1e6:.1f} MB, open it in a browser", *verdict, sep="\n")


if __name__ == "__main__":
    main()
