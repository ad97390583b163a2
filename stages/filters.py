"""Filters: pictures that excite a network's filters most, by gradient ascent from grey noise."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import keras

    from cvd.runtime.params.loading import Params
    from cvd.vis.filters.ascent import Ascent

MOST_AT_ONCE = 8  # batches in memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--model", type=Path, required=True, help="the variant's .keras file")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    run_stage(lambda: draw_filters(args.variant, args.model, args.out), f"filters@{args.variant}")


def draw_filters(variant: str, path: Path, out: Path) -> None:
    """Draws LAYER.png, and writes how far the ascent came to objectives.json."""
    from cvd.machine.threads import set_threads
    from cvd.runtime.files import replace_folder
    from cvd.runtime.params.loading import load_params
    from cvd.runtime.threads import count_cores
    from cvd.tracking import add_to_run
    from cvd.vis.explaining.graphs import load_classifier
    from cvd.vis.explaining.layers import choose_filter_layers

    params = load_params()
    start_tensorflow()
    at_once = min(count_cores(), MOST_AT_ONCE)
    set_threads(1, across=at_once)  # batches side by side are faster than an operation on several threads
    model = load_classifier(path)
    layers = choose_filter_layers(model, params.filters.layers)
    with replace_folder(out) as folder:
        _draw_layers(variant, model, layers, folder, params, at_once)
    add_to_run(variant=variant, model_path=path, files=sorted(out.iterdir()), folder="filters")


def _draw_layers(
    variant: str, model: "keras.Model", layers: list[str], folder: Path, params: "Params", at_once: int
) -> None:
    from tqdm import tqdm

    from cvd.vis.explaining.layers import choose_evenly
    from cvd.vis.filters.ascent import ascend_filters
    from cvd.vis.sheets.drawing import name_layer_file, write_png
    from cvd.vis.sheets.grids import draw_pictures

    settings = params.filters
    objectives: dict[str, Any] = {}
    for layer in tqdm(layers, desc=f"climbing {variant}", unit="layer"):
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
        objectives[layer] = _describe(ascent, n_filters)
        caption = (
            f"{variant}   ·   {settings.recipe}, {settings.steps} steps   ·   under each: filter, its mean activation "
            f"before → after   ·   {ascent.is_dead.sum()} of {len(ascent.filters)} dead"
        )
        sheet = draw_pictures(
            ascent.pictures,
            _label(ascent),
            ascent.is_dead,
            title=f"{layer}   {len(ascent.filters)} of {n_filters} filters",
            caption=caption,
        )
        write_png(sheet, folder / f"{name_layer_file(layer)}.png")
    (folder / "objectives.json").write_text(json.dumps(objectives, indent=1) + "\n", encoding="utf-8")
    n_dead = sum(each["n_dead"] for each in objectives.values())
    n_shown = sum(len(each["filters"]) for each in objectives.values())
    print(f"{variant}: {n_shown} filters of {len(layers)} layers, {n_dead} dead")


def _label(ascent: "Ascent") -> list[str]:
    return [
        f"{index}: dead" if is_dead else f"{index}: {round_activation(before)} → {round_activation(after)}"
        for index, before, after, is_dead in zip(
            ascent.filters, ascent.before, ascent.after, ascent.is_dead, strict=True
        )
    ]


def round_activation(value: float) -> str:
    """Two significant digits, or all before the point, without zeros that only fill: 0.00012 is 1.2e-4."""
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(power)}"
    return f"{value:.0f}" if abs(value) >= 9.95 else f"{value:#.2g}"


def _describe(ascent: "Ascent", n_filters: int) -> dict[str, Any]:
    """The numbers of a layer's ascent, for JSON."""
    rows = zip(ascent.filters, ascent.objectives, ascent.is_dead, strict=True)
    return {
        "n_filters": n_filters,
        "n_dead": int(ascent.is_dead.sum()),
        "filters": [
            {
                "filter": int(index),
                "before": float(objectives[0]),
                "after": float(objectives[-1]),
                "dead": bool(is_dead),
                "objectives": [float(f"{value:.4g}") for value in objectives],
            }
            for index, objectives, is_dead in rows
        ],
    }


if __name__ == "__main__":
    main()
