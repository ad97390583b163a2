"""Filters: pictures that excite a network's filters most, by gradient ascent from grey noise."""

import argparse

from tqdm import tqdm

from cvd.runtime.files import replace_folder, write_json
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.threads import count_cores
from cvd.vis.explaining.layers import choose_evenly, choose_filter_layers
from cvd.vis.sheets.drawing import name_layer_file, write_png
from cvd.vis.sheets.grids import draw_pictures


def main() -> None:
    args = read_arguments(__doc__, names=("variant",), paths=("model", "out"))
    run_stage(lambda: work(args), f"filters@{args.variant}")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    settings = params.filters
    start_tensorflow()

    from cvd.machine.threads import set_threads
    from cvd.models.networks.mirroring import remove_mirror
    from cvd.models.networks.saving import load_network
    from cvd.vis.filters.ascent import MOST_AT_ONCE, ascend_filters

    at_once = min(count_cores(), MOST_AT_ONCE)
    set_threads(1, across=at_once)  # batches side by side are faster than an operation on several threads
    model = remove_mirror(load_network(args.model))
    layers = choose_filter_layers(model, settings.layers)
    figures = {}
    with replace_folder(args.out) as folder:
        for layer in tqdm(layers, desc=f"climbing {args.variant}", unit="layer"):
            n_filters = model.get_layer(layer).output.shape[-1]
            ascent = ascend_filters(
                model,
                layer=layer,
                filters=choose_evenly(n_filters, settings.n_filters),
                size_px=settings.size_px,
                steps=settings.steps,
                seed=params.seed,
                recipe=settings.recipe,
                at_once=at_once,
            )
            figures[layer] = ascent.describe(n_filters)
            recipe = f"{args.variant}   ·   {settings.recipe}, {settings.steps} steps"
            shown = ascent.pictures, ascent.label(), ascent.is_dead
            sheet = draw_pictures(*shown, layer=layer, n_filters=n_filters, recipe=recipe)
            write_png(sheet, folder / f"{name_layer_file(layer)}.png")
        write_json(figures, folder / "objectives.json", indent=1)
    n_dead = sum(figure["n_dead"] for figure in figures.values())
    n_shown = sum(len(figure["filters"]) for figure in figures.values())
    print(f"{args.variant}: {n_shown} filters of {len(layers)} layers, {n_dead} dead")


if __name__ == "__main__":
    main()
