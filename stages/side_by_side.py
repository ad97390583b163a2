"""Side by side: where several networks look in the same images, and those on which they disagree."""

import argparse

from cvd.data.images.pixels import decode_image
from cvd.evaluation.measures import read_predictions, select_test
from cvd.evaluation.mistakes import choose_disagreements
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.vis.explaining.heatmaps import read_heatmaps
from cvd.vis.sheets.drawing import write_png
from cvd.vis.sheets.galleries import draw_disagreements, make_exhibit
from cvd.vis.sheets.overlays import limit_size, write_comparisons


def main() -> None:
    args = read_arguments(__doc__, paths=("heatmaps", "predictions", "images", "out"))
    run_stage(lambda: work(args), "side_by_side")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    variants = [name for name in params.variants if (args.heatmaps / f"{name}.npz").is_file()]
    if not variants:
        raise InputError(f"{args.heatmaps} holds no heat maps of params.yaml's variants: run `dvc repro` or `dvc pull`")
    shown, named = (
        {name: read_heatmaps(args.heatmaps / f"{name}.npz", kind) for name in variants} for kind in ("shown", "named")
    )
    first = shown[variants[0]]
    images = {path: limit_size(decode_image(args.images / path)) for path in first.paths}
    with replace_folder(args.out) as folder:
        views = {path: [shown[name].view(path) for name in variants] for path in images}
        write_comparisons(folder / "images", images, views, caption=first.caption)
        if len(variants) > 1:
            # Only images of which every network has a heat map.
            examined = set.intersection(*(set(maps.paths) for maps in named.values()))
            tests = {name: select_test(read_predictions(args.predictions / f"{name}.csv")) for name in variants}
            n_all = len(tests[variants[0]])
            tests = {name: test[test["path"].isin(examined)] for name, test in tests.items()}
            n_examined = len(tests[variants[0]])
            among = f"chosen among {n_examined} of the {n_all} test images, those with heat maps by all networks"
            divided = choose_disagreements(tests, params.gradcam.mistakes)
            photos = {path: limit_size(decode_image(args.images / path)) for path in divided}
            answers = {name: {str(row.path): row for row in test.itertuples()} for name, test in tests.items()}
            rows = [
                [make_exhibit(answers[name][path], photos[path], named[name].view(path)) for name in variants]
                for path in divided
            ]
            sheet = draw_disagreements(
                rows,
                variants=variants,
                heat=named[variants[0]].describe(),
                among="" if n_examined == n_all else among,
            )
            write_png(sheet, folder / "disagreements.png")
            print(f"they disagree on {len(divided)} shown")
    print(f"{len(images)} images, {len(variants)} variants")


if __name__ == "__main__":
    main()
