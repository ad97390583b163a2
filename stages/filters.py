"""Filters: pictures that excite a network's filters most, by gradient ascent, and real patches that do."""

import argparse
from functools import partial

from tqdm import tqdm

from cvd.data.images.manifest import choose_images, read_manifest
from cvd.data.images.pixels import load_images
from cvd.runtime.files import replace_folder, write_json
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.threads import count_cores
from cvd.vis.explaining.layers import choose_evenly, choose_filter_layers
from cvd.vis.sheets.drawing import name_layer_file, write_png
from cvd.vis.sheets.filters import Tiles, draw_filters


def main() -> None:
    args = read_arguments(__doc__, names=("variant",), paths=("model", "images", "manifest", "out"))
    run_stage(lambda: work(args), f"filters@{args.variant}")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    settings = params.filters
    start_tensorflow()

    from cvd.machine.threads import set_threads
    from cvd.models.networks.mirroring import remove_mirror
    from cvd.models.networks.saving import load_network
    from cvd.vis.explaining.graphs import input_side
    from cvd.vis.filters.ascent import MOST_AT_ONCE, ascend_filters
    from cvd.vis.filters.figures import describe_layer, describe_sheet, label_filters, summarise
    from cvd.vis.filters.patches import find_patches

    at_once = min(count_cores(), MOST_AT_ONCE)
    set_threads(1, across=at_once)  # batches side by side are faster than an operation on several threads
    model = remove_mirror(load_network(args.model))
    size_px = settings.size_px
    sizes = {name: model.get_layer(name).output.shape[-1] for name in choose_filter_layers(model, settings.layers)}
    layers = {name: choose_evenly(n_filters, settings.n_filters) for name, n_filters in sizes.items()}
    paths = choose_images(read_manifest(args.manifest), settings.images)
    images = load_images(args.images, paths, max(input_side(model), size_px))
    strongest = find_patches(model, images, layers=layers, size_px=size_px, at_once=at_once)
    ascend = partial(ascend_filters, model, size_px=size_px, recipe=settings.recipe, at_once=at_once)
    figures = {}
    with replace_folder(args.out) as folder:
        for layer, filters in tqdm(layers.items(), desc=f"climbing {args.variant}", unit="layer", disable=None):
            patches = strongest[layer].pixels
            ascent = ascend(layer=layer, filters=filters, steps=settings.steps, seed=params.seed, patches=patches)
            figures[layer] = describe_layer(ascent, strongest[layer], n_filters=sizes[layer], paths=paths)
            ordered = strongest[layer].order(ascent.ranks)
            tiles = Tiles(ascent.pictures, label_filters(ascent), ascent.is_dead, ordered, ascent.kernels)
            lines = describe_sheet(ascent, variant=args.variant, recipe=settings.recipe, n_images=len(paths))
            sheet = draw_filters(tiles, layer=layer, n_filters=sizes[layer], lines=lines)
            write_png(sheet, folder / f"{name_layer_file(layer)}.png")
        write_json(figures, folder / "objectives.json", indent=1)
    print(summarise(args.variant, figures))


if __name__ == "__main__":
    main()
