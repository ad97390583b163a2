"""Heat maps: where a network finds its evidence for either class, and how that changes as it learns."""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

from cvd.data.images.pixels import decode_image
from cvd.runtime.files import replace_folder
from cvd.runtime.stage import read_arguments, run_stage
from cvd.vis.explaining.heatmaps import list_epochs, name_epoch, read_heatmaps
from cvd.vis.sheets.films import Moment, write_film
from cvd.vis.sheets.overlays import limit_size, write_sheets


def main() -> None:
    args = read_arguments(__doc__, names=("variant",), paths=("heatmaps", "history", "images", "out"))
    run_stage(lambda: work(args), f"gradcam@{args.variant}")


def work(args: argparse.Namespace) -> None:
    seen, moments = read_heatmaps(args.heatmaps, "shown"), list(read_moments(args.heatmaps, args.history))
    images = {path: limit_size(decode_image(args.images / path)) for path in seen.paths}
    with replace_folder(args.out) as folder:
        write_sheets(folder, images, {path: seen.view(path) for path in images}, caption=seen.caption, note=seen.note)
        write_film(folder / "epochs", images, moments, caption=seen.caption)
    print(f"{args.variant}: {len(images)} images, {len(seen.maps)} layers, {len(moments)} earlier epochs")


def read_moments(heatmaps: Path, history: Path) -> Iterator[Moment]:
    """Read what the network saw at the epochs that were kept, the first one first."""
    with history.open(encoding="utf-8", newline="") as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    for epoch in list_epochs(heatmaps):
        seen = read_heatmaps(heatmaps, name_epoch(epoch))
        views = {path: seen.view(path) for path in seen.paths}
        yield Moment(epoch, float(rows[epoch]["accuracy"]), float(rows[epoch]["val_accuracy"]), views)


if __name__ == "__main__":
    main()
