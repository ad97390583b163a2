"""Mistakes: the images that each network gets wrong, doubts and gets right, and those on which networks disagree."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cvd.runtime.params.loading import Params
    from cvd.vis.sheets.galleries import Exhibit

LABELS = ("cat", "dog")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the manifest's images")
    parser.add_argument("--predictions", type=Path, required=True, help="folder of VARIANT.csv")
    parser.add_argument("--models", type=Path, required=True, help="folder of VARIANT.keras")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    run_stage(lambda: show_mistakes(args), "mistakes")


def show_mistakes(args: argparse.Namespace) -> None:
    """Draws VARIANT.png for each network, and disagreements.png, of the test images."""
    from cvd.data.images.pixels import decode_image
    from cvd.evaluation.measures import read_predictions
    from cvd.evaluation.mistakes import KINDS, choose_disagreements, choose_telling
    from cvd.runtime.files import replace_folder
    from cvd.runtime.params.loading import load_params
    from cvd.tracking import add_to_run
    from cvd.vis.sheets.overlays import limit_size

    params = load_params()
    start_tensorflow()
    n, variants = params.gradcam.mistakes, params.gradcam.variants
    tables = {name: read_predictions(args.predictions / f"{name}.csv") for name in variants}
    tests = {name: table[table["split"] == "test"].reset_index(drop=True) for name, table in tables.items()}
    telling = {name: choose_telling(test, n) for name, test in tests.items()}
    divided = choose_disagreements(tests, n) if len(tests) > 1 else []
    shown = {name: list_paths(telling[name], divided) for name in variants}
    needed = sorted({path for paths in shown.values() for path in paths})
    images = {path: limit_size(decode_image(args.images / path)) for path in needed}
    exhibits = {name: _explain(args.models, name, shown[name], tests[name], images, params) for name in variants}
    with replace_folder(args.out) as folder:
        _draw(folder, {KINDS[kind]: kind for kind in KINDS}, telling, divided, exhibits, params)
    for name in variants:
        add_to_run(
            variant=name, model_path=args.models / f"{name}.keras", files=[args.out / f"{name}.png"], folder="mistakes"
        )
    print(f"{len(variants)} variants, {n} images of each kind; they disagree on {len(divided)} shown")


def list_paths(telling: "Mapping[str, pd.DataFrame]", divided: list[str]) -> list[str]:
    """All images that a variant's maps are needed of, each once."""
    return list(dict.fromkeys([*(path for table in telling.values() for path in table["path"]), *divided]))


def _explain(
    models: Path,
    variant: str,
    paths: list[str],
    predictions: "pd.DataFrame",
    images: "dict[str, np.ndarray]",
    params: "Params",
) -> "dict[str, Exhibit]":
    """Each image with what the variant's predictions say of it, and the heat for that."""
    import numpy as np

    from cvd.data.images.pixels import resize_image
    from cvd.vis.explaining.geometry import align_maps
    from cvd.vis.explaining.graphs import input_side, load_classifier
    from cvd.vis.explaining.methods import METHODS, choose_layers, make_explainer
    from cvd.vis.sheets.galleries import Exhibit
    from cvd.vis.sheets.overlays import Heat

    model = load_classifier(models / f"{variant}.keras")
    layer = choose_layers(model, None, method=params.gradcam.method)[-1]
    side = input_side(model)
    rows = predictions.set_index("path").loc[paths]
    signs = np.where(rows["logit"].to_numpy() > 0, 1, -1)
    pictures = np.stack([resize_image(images[path], side) for path in paths])
    (maps,) = make_explainer(model, [layer], method=params.gradcam.method)(pictures, [signs])
    heats = align_maps(model, layer, maps[layer])
    unit = METHODS[params.gradcam.method].unit
    said = [Heat(LABELS[int(sign > 0)], layer, heat, unit) for sign, heat in zip(signs, heats, strict=True)]
    return {
        path: Exhibit(Path(path).name, images[path], LABELS[int(label)], float(probability), heat)
        for path, label, probability, heat in zip(paths, rows["label"], rows["probability"], said, strict=True)
    }


def _draw(
    folder: Path,
    headings: dict[str, str],
    telling: "dict[str, dict[str, pd.DataFrame]]",
    divided: list[str],
    exhibits: "dict[str, dict[str, Exhibit]]",
    params: "Params",
) -> None:
    from cvd.vis.explaining.methods import METHODS
    from cvd.vis.sheets.drawing import write_png
    from cvd.vis.sheets.galleries import draw_disagreements, draw_gallery

    heat = METHODS[params.gradcam.method].describe("the last convolution")
    for name, chosen in telling.items():
        sections = [
            (heading, [exhibits[name][path] for path in chosen[kind]["path"]]) for heading, kind in headings.items()
        ]
        caption = f"Test images; below each, {heat} for what the network says; number: P(dog)"
        write_png(draw_gallery(sections, variant=name, caption=caption), folder / f"{name}.png")
    if len(exhibits) > 1:
        rows = [[found[path] for found in exhibits.values()] for path in divided]
        caption = f"{heat}, each for what that network says; number: P(dog)"
        write_png(draw_disagreements(rows, variants=list(exhibits), caption=caption), folder / "disagreements.png")


if __name__ == "__main__":
    main()
