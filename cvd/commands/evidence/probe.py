"""`cvd probe`: what each network can bear of shift, rotation, brightness, blur and other backgrounds."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cvd.commands.networks import list_variants, load_model
from cvd.evaluation.lesson.probes import make_row, render_probes
from cvd.evaluation.tables import write_table
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.project import find_root
from cvd.runtime.startup import start_tensorflow


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd probe`."""
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="default: all that have a model")
    parser.add_argument("--out", type=Path, default=Path("probed"), help="folder of figure and tables (%(default)s)")


def probe_networks(args: argparse.Namespace) -> int:
    """Measure each network on the same changed test images; write a figure, a CSV and Markdown.

    Raises:
        InputError: a variant has no model, or the test images are not there.
    """
    root = find_root()
    params = load_params(root / "params.yaml")
    known = list_variants()
    names = list(dict.fromkeys(args.variants or known))
    if missing := [name for name in names if name not in known] or (["models"] if not names else []):
        raise InputError(
            f"{missing[0]!r} has no model: there are {', '.join(known) or 'none'}; `dvc repro` trains them"
        )
    start_tensorflow()
    rows: list[dict[str, Any]] = []
    for name in names:
        rows += measure_variant(name, params, root)
        print(f"{name}: measured", flush=True)
    table = pd.DataFrame(rows)
    order = {probe: place for place, probe in enumerate(dict.fromkeys(table["probe"]))}
    table = table.sort_values("probe", key=lambda column: column.map(order), kind="stable", ignore_index=True)
    text = render_probes(table)
    _write(table, text, args.out)
    print(f"\n{text}\n{args.out}/probes.png shows it")
    return 0


def measure_variant(name: str, params: Params, root: Path) -> Iterator[dict[str, Any]]:
    """Measure a network on each probe and level: rows of `make_row`, the images as they are first."""
    from cvd.data.images.manifest import choose_images, read_manifest
    from cvd.data.images.pixels import load_images
    from cvd.machine.threads import set_threads
    from cvd.models.networks.prediction import make_predictor
    from cvd.vis.probing.changes import CHANGES, change_backgrounds

    set_threads(params.train.threads)
    manifest, model = read_manifest(root / "data/manifest.csv"), load_model(name)
    paths = list(choose_images(manifest, params.probes.images))
    images = load_images(root / "data/images", paths, int(model.input_shape[1]))
    labels = manifest.set_index("path").loc[paths, "label"].to_numpy()
    predict = make_predictor(model)

    def is_right(changed: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return np.asarray((predict(changed) > 0) == (truth == 1))

    as_it_is = is_right(images, labels)
    for probe, change in CHANGES.items():
        yield make_row(probe, 0, name, as_it_is)
        for level in getattr(params.probes, probe):
            # The classes come in turn: a pair shares its number, so that no sign or direction gives the answer away.
            changed = np.stack([change(image, level, number // 2) for number, image in enumerate(images)])
            yield make_row(probe, level, name, is_right(changed, labels))
    masks, has_mask = _load_masks(root / "data/masks.zip", paths, images.shape[1])
    if has_mask.sum() > 1:
        for kind, changed in change_backgrounds(images[has_mask], masks[has_mask]).items():
            yield make_row("background", kind, name, is_right(changed, labels[has_mask]))


def _load_masks(path: Path, paths: Sequence[str], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Load masks of animals, (n, side, side) bool, and which images have one, (n,); real photos have none."""
    import cv2

    from cvd.vis.examining.figures import read_masks

    by_image: Sequence[Mapping[str, np.ndarray]] = read_masks(path, paths) if path.is_file() else [{}] * len(paths)
    masks = np.zeros((len(paths), side, side), bool)
    for place, kinds in enumerate(by_image):
        if "animal" in kinds:
            small = cv2.resize(kinds["animal"].astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)
            masks[place] = small > 0
    return masks, np.asarray(masks.any(axis=(1, 2)))


def _write(table: pd.DataFrame, text: str, out: Path) -> None:
    from cvd.vis.charts.probes import draw_probes
    from cvd.vis.charts.themes import save_figure

    with replace_folder(out) as folder:
        write_table(table, folder / "probes.csv")
        save_figure(draw_probes(table), folder / "probes.png")
        (folder / "probes.md").write_text(text, encoding="utf-8")
