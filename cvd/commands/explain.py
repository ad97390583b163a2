"""`cvd explain`: where networks find cat and dog in photos."""

import argparse
from pathlib import Path

from cvd.commands.networks import choose_variant, load_model
from cvd.data.images.pixels import resize_image
from cvd.data.intake.photos import find_photos, name_photos, read_photos, report_faults, show_path
from cvd.runtime.files import replace_file
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import METHODS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cvd explain`."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR|ZIP")
    parser.add_argument("--variant", action="append", help="may be repeated; default: as for `cvd predict`")
    parser.add_argument(
        "--layer", action="append", help="may be repeated; default: an early, a middle and the last convolution"
    )
    parser.add_argument("--method", choices=METHODS, default="gradcam", help="how to explain (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("explained"), help="folder of the pictures (%(default)s)")


def explain_photos(args: argparse.Namespace) -> int:
    """Write a sheet for each photo: heat for cat and for dog, in each layer, a row for each network."""
    start_tensorflow()
    import numpy as np

    from cvd.models.networks.mirroring import remove_mirror
    from cvd.vis.explaining.views import Viewer
    from cvd.vis.sheets.drawing import write_png
    from cvd.vis.sheets.overlays import draw_comparison, limit_size

    n_faults = 0
    with find_photos(args.photos) as found:
        names = name_photos(found.paths, args.photos)
        variants = list(dict.fromkeys(args.variant or [choose_variant()]))
        networks = {name: load_model(name) for name in variants}
        viewers = [
            Viewer(name, remove_mirror(network), args.layer, method=args.method, answering=network)
            for name, network in networks.items()
        ]
        for photo in read_photos(found.paths, members=found.members):
            n_faults += report_faults([photo])
            if photo.pixels is None:
                continue
            views = [viewer.view(resize_image(photo.pixels, viewer.size_px)[np.newaxis])[0] for viewer in viewers]
            sheet = draw_comparison(limit_size(photo.pixels), views, title=photo.path.name, caption=viewers[0].caption)
            target = args.out / f"{names[photo.path]}.{'+'.join(variants)}.png"
            with replace_file(target) as partial:
                write_png(sheet, partial)
            lines = (f"{view.variant + ': ' if len(views) > 1 else ''}{', '.join(view.lines)}" for view in views)
            print(f"{show_path(photo.path)}: {'; '.join(lines)}: {show_path(target)}", flush=True)
    return 1 if n_faults else 0
