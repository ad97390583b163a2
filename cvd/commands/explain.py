"""`cvd explain`: where a network finds cat and dog in photos."""

import argparse
from pathlib import Path

from cvd.commands.networks import load_model
from cvd.photos import find_photos, name_photos, read_photos, report_faults


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be typed after `cvd explain`."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR")
    parser.add_argument("--variant", required=True)
    parser.add_argument("--layer", action="append", help="may be repeated; default: an early and the last convolution")
    parser.add_argument("--out", type=Path, default=Path("explained"), help="folder of the pictures (%(default)s)")


def explain_photos(args: argparse.Namespace) -> int:
    """Writes a sheet for each photo: heat for dog and for cat, in each layer."""
    import numpy as np
    from scipy.special import expit

    from cvd.data.decode import resize_image
    from cvd.data.manifest import LABELS
    from cvd.files import replace_file
    from cvd.vis.drawing import write_png
    from cvd.vis.gradcam import combine_evidence, take_gradients
    from cvd.vis.layers import choose_grad_cam_layers
    from cvd.vis.overlays import Heat, Row, draw_comparison, limit_size

    paths = find_photos(args.photos)
    names = name_photos(paths, args.photos)
    model = load_model(args.variant)
    layers = choose_grad_cam_layers(model, args.layer)
    n_faults = 0
    for photo in read_photos(paths):
        n_faults += report_faults([photo])
        if photo.pixels is None:
            continue
        image = resize_image(photo.pixels, model.input_shape[1])
        logits, evidence = take_gradients(model, image[np.newaxis], layers=layers)
        logit = float(logits[0, 0])
        heats = [
            Heat(label, layer, combine_evidence(evidence[layer], sign=sign)[0])
            for layer in layers
            for label, sign in zip(LABELS, (-1, 1), strict=True)
        ]
        says = [f"P(dog) {expit(logit):.3f}", f"says {LABELS[int(logit > 0)]}"]
        rows = [Row(args.variant, says, heats)]
        caption = "Grad-CAM: where a layer's features speak for cat, and for dog"
        sheet = draw_comparison(limit_size(photo.pixels), rows, title=photo.path.name, caption=caption)
        target = args.out / f"{names[photo.path]}.{args.variant}.png"
        with replace_file(target) as partial:
            write_png(sheet, partial)
        print(f"{photo.path}: {', '.join(says)}: {target}")
    return 1 if n_faults else 0
