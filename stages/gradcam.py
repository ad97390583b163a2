"""Heat maps: where a network finds its evidence for either class."""

import argparse

from cvd.data.images.pixels import decode_image
from cvd.runtime.files import replace_folder
from cvd.runtime.stage import read_arguments, run_stage
from cvd.vis.explaining.heatmaps import read_heatmaps
from cvd.vis.sheets.overlays import limit_size, write_sheets


def main() -> None:
    args = read_arguments(__doc__, names=("variant",), paths=("heatmaps", "images", "out"))
    run_stage(lambda: work(args), f"gradcam@{args.variant}")


def work(args: argparse.Namespace) -> None:
    seen = read_heatmaps(args.heatmaps, "shown")
    images = {path: limit_size(decode_image(args.images / path)) for path in seen.paths}
    with replace_folder(args.out) as folder:
        write_sheets(folder, images, {path: seen.view(path) for path in images}, caption=seen.caption, note=seen.note)
    print(f"{args.variant}: {len(images)} images, {len(seen.maps)} layers")


if __name__ == "__main__":
    main()
