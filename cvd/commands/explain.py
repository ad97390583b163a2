"""`cvd explain`: where networks find cat and dog in photos."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.commands.networks import choose_variant, load_model
from cvd.data.intake.photos import find_photos, name_photos, read_photos, report_faults, show_path
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from cvd.vis.sheets.overlays import Row

METHODS = ("gradcam", "gradcam++", "hirescam", "scorecam", "integrated")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be typed after `cvd explain`."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR")
    parser.add_argument("--variant", action="append", help="may be repeated; default: as for `cvd predict`")
    parser.add_argument(
        "--layer", action="append", help="may be repeated; default: an early, a middle and the last convolution"
    )
    parser.add_argument("--method", choices=METHODS, default="gradcam", help="how to explain (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("explained"), help="folder of the pictures (%(default)s)")


def explain_photos(args: argparse.Namespace) -> int:
    """Writes a sheet for each photo: heat for cat and for dog, in each layer, a row for each network."""
    start_tensorflow()
    from cvd.runtime.files import replace_file
    from cvd.vis.explaining.methods import METHODS
    from cvd.vis.sheets.drawing import write_png
    from cvd.vis.sheets.overlays import draw_comparison, limit_size

    paths = find_photos(args.photos)
    names = name_photos(paths, args.photos)
    variants = list(dict.fromkeys(args.variant or [choose_variant()]))
    explainers = [make_explainer(variant, args.layer, args.method) for variant in variants]
    caption = f"{METHODS[args.method].title}: where a network finds evidence for cat, and for dog"
    n_faults = 0
    for photo in read_photos(paths):
        n_faults += report_faults([photo])
        if photo.pixels is None:
            continue
        rows = [explain(photo.pixels) for explain in explainers]
        sheet = draw_comparison(limit_size(photo.pixels), rows, title=photo.path.name, caption=caption)
        target = args.out / f"{names[photo.path]}.{'+'.join(variants)}.png"
        with replace_file(target) as partial:
            write_png(sheet, partial)
        says = "; ".join(f"{row.title + ': ' if len(rows) > 1 else ''}{', '.join(row.lines)}" for row in rows)
        print(f"{show_path(photo.path)}: {says}: {show_path(target)}", flush=True)
    return 1 if n_faults else 0


def make_explainer(variant: str, layers: list[str] | None, method: str) -> "Callable[[np.ndarray], Row]":
    """A function from a photo (h, w, 3) uint8 to what a variant says of it, with its heat maps.

    Raises:
        InputError: the variant has no model, or the model no such layer.
    """
    import numpy as np

    from cvd.data.images.manifest import LABELS
    from cvd.data.images.pixels import resize_image
    from cvd.vis.explaining import methods as explaining
    from cvd.vis.explaining.geometry import align_maps
    from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
    from cvd.vis.explaining.layers import name_depths
    from cvd.vis.sheets.overlays import Heat, Row

    model = load_model(variant)
    chosen = explaining.choose_layers(model, layers, method=method)
    explain, score = explaining.make_explainer(model, chosen, method=method), make_scorer(model)
    unit, depths = explaining.METHODS[method].unit, name_depths(len(chosen))

    def explain_photo(photo: np.ndarray) -> Row:
        image = resize_image(photo, model.input_shape[1])[np.newaxis]
        probability = float(compute_probabilities(score(image))[0, 0])
        maps = explain(image, (-1, 1))
        heats = [
            Heat(f"{depth} {label}".strip(), layer, align_maps(model, layer, found[layer])[0], unit)
            for depth, layer in zip(depths, chosen, strict=True)
            for label, found in zip(LABELS, maps, strict=True)
        ]
        return Row(variant, [f"P(dog) {probability:.3f}", f"says {LABELS[int(probability > 0.5)]}"], heats)

    return explain_photo
