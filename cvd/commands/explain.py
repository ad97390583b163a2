"""`cvd explain`: where networks find evidence for a class in photos."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.commands.networks import N_CLASSES, choose_variant, load_eyes, load_model
from cvd.data.images.pixels import resize_image
from cvd.data.intake.photos import find_photos, name_photos, read_photos, report_faults, show_path
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.project import find_root, read_classes
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import CHOICES

if TYPE_CHECKING:
    import numpy as np

Drawer = Callable[[str, "np.ndarray"], "tuple[np.ndarray, str]"]  # a photo's name and pixels -> sheet, what is said


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cvd explain`."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR|ZIP")
    parser.add_argument("--variant", action="append", help="may be repeated; default: as for `cvd predict`")
    parser.add_argument(
        "--layer", action="append", help="may be repeated; default: an early, a middle and the last convolution"
    )
    parser.add_argument("--method", choices=CHOICES, default="auto", help="how to explain (%(default)s)")
    parser.add_argument(
        "--classes",
        nargs=2,
        metavar=("A", "B"),
        help="two of ImageNet's classes: what tells them apart to the backbone",
    )
    parser.add_argument("--out", type=Path, default=Path("explained"), help="folder of the pictures (%(default)s)")


def explain_photos(args: argparse.Namespace) -> int:
    """Write a sheet for each photo, and say what the networks say of it.

    A row for each network with the heat for each class in each layer; on a second sheet the backbone's most probable
    ImageNet classes. With `--classes` instead what tells two of ImageNet's classes apart to the backbone.

    Raises:
        InputError: a variant, a class or a layer is unknown.
    """
    start_tensorflow()
    from cvd.vis.sheets.drawing import write_png

    n_faults = 0
    with find_photos(args.photos) as found:
        names = name_photos(found.paths, args.photos)
        drawers = [make_contrast(args)] if args.classes else [make_comparison(args), *make_recognition()]
        for photo in read_photos(found.paths, members=found.members):
            n_faults += report_faults([photo])
            if photo.pixels is None:
                continue
            for suffix, draw in drawers:
                sheet, line = draw(photo.path.name, photo.pixels)
                target = args.out / f"{names[photo.path]}.{suffix}.png"
                with replace_file(target) as partial:
                    write_png(sheet, partial)
                print(f"{show_path(photo.path)}: {line}: {show_path(target)}", flush=True)
    return 1 if n_faults else 0


def make_comparison(args: argparse.Namespace) -> tuple[str, Drawer]:
    """Make what explains a photo by the variants' networks, and the end of its files' names."""
    from cvd.models.networks.mirroring import remove_mirror
    from cvd.vis.explaining.views import Viewer
    from cvd.vis.sheets.overlays import draw_comparison, limit_size

    variants = list(dict.fromkeys(args.variant or [choose_variant()]))
    labels = read_classes(find_root())
    networks = {name: load_model(name) for name in variants}
    viewers = [
        Viewer(name, remove_mirror(network), args.layer, method=args.method, answering=network, labels=labels)
        for name, network in networks.items()
    ]

    def draw(name: str, pixels: "np.ndarray") -> "tuple[np.ndarray, str]":
        views = [viewer.view(resize_image(pixels, viewer.size_px)[None])[0] for viewer in viewers]
        first = viewers[0]
        sheet = draw_comparison(limit_size(pixels), views, title=name, caption=first.caption, note=first.note)
        lines = (f"{view.variant + ': ' if len(views) > 1 else ''}{', '.join(view.lines)}" for view in views)
        return sheet, "; ".join(lines)

    return "+".join(variants), draw


def make_recognition() -> list[tuple[str, Drawer]]:
    """Make what shows the backbone's most probable ImageNet classes; nothing where it has none."""
    from cvd.vis.sheets.overlays import limit_size
    from cvd.vis.sheets.photos import draw_photo

    eyes = load_eyes(only_last=False)
    if eyes is None:
        return []
    backbone, size_px, viewer = eyes
    title = f"What {backbone} sees: its top {N_CLASSES} of ImageNet's 1,000 classes"
    caption = f"{viewer.title}: what speaks for each class, and what tells the first two apart"

    def draw(name: str, pixels: "np.ndarray") -> "tuple[np.ndarray, str]":
        heats = viewer.view(resize_image(pixels, size_px)[None], top=N_CLASSES)
        sheet = draw_photo(name, limit_size(pixels), heats, title=title, caption=caption, note=viewer.note)
        return sheet, f"{backbone} sees {', '.join(heat.label for heat in heats[:N_CLASSES])}"

    return [("imagenet", draw)]


def make_contrast(args: argparse.Namespace) -> tuple[str, Drawer]:
    """Make what tells two of ImageNet's classes apart in a photo by the backbone, and the end of its files' names."""
    from cvd.models.networks.backbone import class_names, describe_backbone, load_backbone
    from cvd.vis.explaining.views import ClassViewer, find_class, format_share
    from cvd.vis.sheets.overlays import limit_size
    from cvd.vis.sheets.photos import draw_photo

    folder = find_root() / "models/backbone"
    backbone, names = describe_backbone(folder), class_names()
    if args.variant or not backbone.has_classes:
        fault = (
            f"a variant knows {' and '.join(read_classes(find_root()))} only"
            if args.variant
            else f"{backbone.name} was loaded without its classes"
        )
        raise InputError(f"--classes asks the backbone for two of ImageNet's classes: {fault}")
    first, second = (find_class(names, asked) for asked in args.classes)
    if first == second:
        raise InputError(f"--classes names {names[first]!r} twice: give two classes")
    viewer = ClassViewer(load_backbone(folder), names, args.layer, method=args.method)
    title = f"{names[first]} or {names[second]}: what tells them apart to {backbone.name}"
    caption = f"{viewer.title} of the difference of the two logits"

    def draw(name: str, pixels: "np.ndarray") -> "tuple[np.ndarray, str]":
        image = resize_image(pixels, backbone.size_px)[None]
        shares = dict(viewer.rank(image))
        heats = viewer.explain(image, [(number, shares[number]) for number in (first, second)], (first, second))
        sheet = draw_photo(name, limit_size(pixels), heats, title=title, caption=caption, note=viewer.note)
        return sheet, ", ".join(f"{names[number]} {format_share(shares[number])}" for number in (first, second))

    return f"{first}-{second}", draw
