"""Mistakes: the images that a network gets most wrong, doubts and gets right, with its heat maps."""

import argparse

from cvd.data.images.pixels import decode_image
from cvd.evaluation.measures import read_predictions, select_test
from cvd.evaluation.mistakes import KINDS, choose_telling
from cvd.runtime.files import replace_file
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.vocabulary import pluralise
from cvd.vis.explaining.heatmaps import read_heatmaps
from cvd.vis.sheets.drawing import write_png
from cvd.vis.sheets.galleries import draw_gallery, make_exhibit
from cvd.vis.sheets.overlays import limit_size


def main() -> None:
    args = read_arguments(__doc__, names=("variant",), paths=("heatmaps", "predictions", "images", "sheet"))
    run_stage(lambda: work(args), f"mistakes@{args.variant}")


def work(args: argparse.Namespace) -> None:
    n = load_params().gradcam.mistakes
    telling = choose_telling(select_test(read_predictions(args.predictions)), n)
    seen = read_heatmaps(args.heatmaps, "named")
    sections = []
    for kind, rows in telling.items():
        exhibits = [
            make_exhibit(row, limit_size(decode_image(args.images / str(row.path))), seen.view(str(row.path)))
            for row in rows.itertuples()
        ]
        sections.append((KINDS[kind].format(*map(pluralise, seen.labels)), exhibits))
    with replace_file(args.sheet) as partial:
        write_png(draw_gallery(sections, variant=args.variant, heat=seen.describe(), labels=seen.labels), partial)
    print(f"{args.variant}: {n} images of each kind")


if __name__ == "__main__":
    main()
