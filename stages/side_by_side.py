"""Side by side: where several networks look in the same images, and those on which they disagree."""

import argparse
from collections.abc import Callable, Mapping

import numpy as np

from cvd.data.images.pixels import decode_image
from cvd.evaluation.measures import read_predictions, select_test
from cvd.evaluation.mistakes import choose_disagreements
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.vis.explaining.heatmaps import HeatMaps, read_heatmaps
from cvd.vis.sheets.contradictions import draw_contradictions
from cvd.vis.sheets.drawing import write_png
from cvd.vis.sheets.galleries import draw_disagreements, make_exhibit
from cvd.vis.sheets.overlays import limit_size, write_comparisons

N_CASES = 2  # images of each network on the sheet of contradictions


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

    def load(path: str) -> np.ndarray:
        return limit_size(decode_image(args.images / path))

    images = {path: load(path) for path in first.paths}
    with replace_folder(args.out) as folder:
        views = {path: [shown[name].view(path) for name in variants] for path in images}
        write_comparisons(folder / "images", images, views, caption=first.caption, note=first.note)
        rivals = {name: [read_heatmaps(args.heatmaps / f"{name}.npz", "averaged"), named[name]] for name in variants}
        write_png(draw_contradictions(rivals, load, n=N_CASES), folder / "contradictions.png")
        if len(variants) > 1:
            write_png(draw_divided(args, named, load, n=params.gradcam.mistakes), folder / "disagreements.png")
    print(f"{len(images)} images, {len(variants)} variants")


def draw_divided(
    args: argparse.Namespace, named: Mapping[str, HeatMaps], load: Callable[[str], np.ndarray], *, n: int
) -> np.ndarray:
    """Draw up to `n` test images on which the networks disagree, of those of which every one has a heat map."""
    examined = set.intersection(*(set(maps.paths) for maps in named.values()))
    tests = {name: select_test(read_predictions(args.predictions / f"{name}.csv")) for name in named}
    n_all = len(next(iter(tests.values())))
    tests = {name: test[test["path"].isin(examined)] for name, test in tests.items()}
    n_examined = len(next(iter(tests.values())))
    among = f"chosen among {n_examined} of the {n_all} test images, those with heat maps by all networks"
    answers = {name: {str(row.path): row for row in test.itertuples()} for name, test in tests.items()}
    rows = [
        [make_exhibit(answers[name][path], image, named[name].view(path)) for name in named]
        for path in choose_disagreements(tests, n)
        for image in [load(path)]
    ]
    print(f"they disagree on {len(rows)} shown")
    first, among = next(iter(named.values())), "" if n_examined == n_all else among
    heat = first.describe()
    return draw_disagreements(rows, variants=list(named), heat=heat, labels=first.labels, among=among)


if __name__ == "__main__":
    main()
