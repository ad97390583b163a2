"""Activations: what every channel of every convolution and pooling layer answers to an image."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.runtime.errors import InputError
from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import numpy as np

    from cvd.runtime.params.loading import Params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the manifest's images")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--model", type=Path, required=True, help="the variant's .keras file")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    run_stage(lambda: draw_activations(args), f"activations@{args.variant}")


def draw_activations(args: argparse.Namespace) -> None:
    """Draws IMAGE/NN_LAYER.png for each layer, IMAGE/NN_LAYER_C.png of single channels, IMAGE.png with all in brief."""
    from cvd.data.images.manifest import choose_images, read_manifest
    from cvd.runtime.files import replace_folder
    from cvd.runtime.params.loading import load_params
    from cvd.tracking import add_to_run

    params = load_params()
    start_tensorflow()
    paths = choose_images(read_manifest(args.manifest), params.activations.images)
    with replace_folder(args.out) as folder:
        _draw_layers(args, paths, folder, params)
    sheets = sorted(args.out.glob("*.png"))
    add_to_run(variant=args.variant, model_path=args.model, files=sheets, folder="activations")


def _draw_layers(args: argparse.Namespace, paths: list[str], folder: Path, params: "Params") -> None:
    import numpy as np
    from tqdm import tqdm

    from cvd.data.images.pixels import load_image
    from cvd.vis.explaining.activations import compute_activations
    from cvd.vis.explaining.graphs import input_side, load_classifier, predict_probabilities
    from cvd.vis.explaining.layers import choose_activation_layers
    from cvd.vis.sheets.drawing import name_file, name_layer_file, write_png
    from cvd.vis.sheets.grids import draw_channels, draw_overview, write_channels

    model = load_classifier(args.model)
    layers = choose_activation_layers(model, params.activations.layers)
    pictures = np.stack([load_image(args.images / path, input_side(model)) for path in paths])
    activations = compute_activations(model, pictures, layers=layers)
    check_channels(params.activations.channels, max(each.shape[-1] for each in activations.values()))
    probabilities = predict_probabilities(model, pictures)
    with tqdm(total=len(paths) * len(layers), desc=f"drawing {args.variant}", unit="layer") as bar:
        for index, path in enumerate(paths):
            for number, layer in enumerate(layers, start=1):
                sheet = draw_channels(activations[layer][index], layer=layer, caption=f"{args.variant}   ·   {path}")
                write_channels(sheet, folder / name_file(path) / f"{number:02d}_{name_layer_file(layer)}.png")
                _draw_channels(pictures[index], activations[layer][index], layer, number, folder, args, path, params)
                bar.update()
            caption = f"{path}   ·   P(dog) {probabilities[index, 0]:.3f}"
            shown = {layer: activations[layer][index] for layer in layers}
            overview = draw_overview(pictures[index], shown, title=args.variant, caption=caption)
            write_png(overview, folder / f"{name_file(path)}.png")
    n_channels = sum(each.shape[-1] for each in activations.values())
    print(f"{args.variant}: {len(layers)} layers, {n_channels:,} channels, {len(paths)} images")


def check_channels(channels: list[int] | None, n_most: int) -> None:
    """Makes sure that each channel asked for is in some layer.

    Raises:
        InputError: one is in none.
    """
    for channel in channels or ():
        if channel >= n_most:
            raise InputError(f"activations.channels names {channel}: the widest layer has channels 0 to {n_most - 1}")


def _draw_channels(
    picture: "np.ndarray",
    activations: "np.ndarray",
    layer: str,
    number: int,
    folder: Path,
    args: argparse.Namespace,
    path: str,
    params: "Params",
) -> None:
    """Draws the channels asked for by themselves, of a layer that has them."""
    from cvd.vis.sheets.channels import draw_channel
    from cvd.vis.sheets.drawing import name_file, name_layer_file, write_png

    for channel in params.activations.channels or ():
        if channel < activations.shape[-1]:
            caption = f"{args.variant}   ·   {path}"
            sheet = draw_channel(picture, activations, layer=layer, channel=channel, caption=caption)
            write_png(sheet, folder / name_file(path) / f"{number:02d}_{name_layer_file(layer)}_{channel}.png")


if __name__ == "__main__":
    main()
