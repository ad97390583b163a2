"""Explanations: whether heat maps mean something, in numbers: randomisation, deletion, insertion, pointing game."""

import argparse
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import keras
    import numpy as np

    from cvd.runtime.params.loading import Params

KINDS = ("animal", "head")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the manifest's images")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True, help="zip of masks; those of drawn images are in it")
    parser.add_argument("--models", type=Path, required=True, help="folder of VARIANT.keras")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    args = parser.parse_args()
    run_stage(lambda: check_explanations(args), "explanations")


def check_explanations(args: argparse.Namespace) -> None:
    """Measures each variant's maps, and writes {variant: {method: {layer: figures}}}."""
    import tensorflow as tf

    from cvd.data.images.manifest import choose_images, read_manifest
    from cvd.data.images.pixels import decode_image
    from cvd.machine.threads import set_threads
    from cvd.runtime.files import replace_file
    from cvd.runtime.params.loading import load_params

    params = load_params()
    start_tensorflow()
    set_threads(params.train.threads)
    tf.config.experimental.enable_op_determinism()
    paths = choose_images(read_manifest(args.manifest), params.explanations.images)
    images = [decode_image(args.images / path) for path in paths]
    masks = read_masks(args.masks, paths)
    found: dict[str, Any] = {}
    for variant in params.explanations.variants:
        found[variant] = _check_variant(args.models / f"{variant}.keras", images, masks, params)
        print(f"{variant}: {describe(found[variant])}", flush=True)
    with replace_file(args.metrics) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    _track(args, found)


def read_masks(path: Path, paths: list[str]) -> "list[dict[str, np.ndarray]]":
    """The masks of each image that has some, (h, w) bool, by kind."""
    masks: list[dict[str, np.ndarray]] = []
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        for image in paths:
            own = {kind: f"{kind}/{Path(image).with_suffix('.png').as_posix()}" for kind in KINDS}
            decoded = {kind: decode_mask(archive.read(name)) for kind, name in own.items() if name in names}
            masks.append({kind: mask for kind, mask in decoded.items() if mask.any()})
    return masks


def decode_mask(data: bytes) -> "np.ndarray":
    """A PNG as (h, w) bool."""
    import io

    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L")) > 127


def _check_variant(
    path: Path, images: "list[np.ndarray]", masks: "list[dict[str, np.ndarray]]", params: "Params"
) -> dict[str, Any]:
    """Figures of each method and layer, and what a map without meaning would get: {method: {layer: figures}}."""
    import numpy as np

    from cvd.data.images.pixels import resize_image
    from cvd.vis.explaining.geometry import align_maps
    from cvd.vis.explaining.graphs import compute_probabilities, input_side, load_classifier, make_scorer
    from cvd.vis.explaining.methods import choose_layers, make_explainer

    settings = params.explanations
    model = load_classifier(path)
    side = input_side(model)
    pictures = np.stack([resize_image(image, side) for image in images]).astype(np.float32)
    score = make_scorer(model)
    # Each map explains the class that the network names.
    signs = np.where(score(pictures)[:, 0] > 0, 1, -1)

    def measure(maps: "np.ndarray") -> dict[str, float]:
        from cvd.vis.explaining.perturbation import measure_faithfulness

        n = settings.perturbed
        areas = measure_faithfulness(
            lambda some: compute_probabilities(score(some))[:, 0], pictures[:n], maps[:n], signs=signs[:n],
            seed=params.seed,
        )  # fmt: skip
        names = ("deletion", "insertion")
        return _localise(maps, masks) | {name: float(area.mean()) for name, area in zip(names, areas, strict=True)}

    figures: dict[str, Any] = {}
    for method in settings.methods:
        layers = choose_layers(model, settings.layers, method=method)
        layers = layers if settings.layers else layers[-1:]
        (maps,) = make_explainer(model, layers, method=method)(pictures, [signs])
        figures[method] = {layer: _round(measure(align_maps(model, layer, maps[layer]))) for layer in layers}
        n = settings.perturbed
        kept = {layer: maps[layer][:n] for layer in layers}
        for layer, found in _randomise(model, pictures[:n], signs[:n], kept, method, params).items():
            figures[method][layer] |= found
    shape = maps[layers[-1]].shape
    noise = np.random.default_rng(params.seed).random(shape, np.float32)
    return figures | {"chance": {"random": _round(measure(align_maps(model, layers[-1], noise)))}}


def _localise(maps: "np.ndarray", masks: "list[dict[str, np.ndarray]]") -> dict[str, float]:
    """Mean share of heat inside the masks, and share of images whose hottest spot is, by kind of mask."""
    import numpy as np

    from cvd.vis.explaining.localisation import is_hit, measure_share

    found = {}
    for kind in KINDS:
        pairs = [(heat, own[kind]) for heat, own in zip(maps, masks, strict=True) if kind in own]
        if pairs:
            found[f"{kind}_share"] = float(np.mean([measure_share(heat, mask) for heat, mask in pairs]))
            found[f"{kind}_pointing"] = float(np.mean([is_hit(heat, mask) for heat, mask in pairs]))
            strict = [is_hit(heat, mask, tolerance=0) for heat, mask in pairs]
            found[f"{kind}_pointing_strict"] = float(np.mean(strict))
    return found


def _randomise(
    model: "keras.Model",
    pictures: "np.ndarray",
    signs: "np.ndarray",
    maps: "dict[str, np.ndarray]",
    method: str,
    params: "Params",
) -> dict[str, dict[str, Any]]:
    """Of each layer's maps the rank correlation with those of the network as it is unlearnt from the top."""
    from cvd.vis.explaining.methods import make_explainer
    from cvd.vis.explaining.randomisation import correlate_maps, randomise_from_top

    found: dict[str, dict[str, float]] = {layer: {} for layer in maps}
    explain = None
    for lowest, changed in randomise_from_top(model, seed=params.seed):
        explain = explain or make_explainer(changed, list(maps), method=method)  # reads the weights as they are
        (others,) = explain(pictures, [signs])
        for layer in maps:
            found[layer][lowest] = float(correlate_maps(maps[layer], others[layer]).mean())
    return {
        layer: {"rank_correlation": _round(curve)[lowest], "details": [{"rank_correlations": _round(curve)}]}
        for layer, curve in found.items()
    }


def _round(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def describe(figures: dict[str, Any]) -> str:
    """The first method's last layer in a line."""
    method, layers = next(iter(figures.items()))
    layer, found = list(layers.items())[-1]
    named = ", ".join(f"{name} {value:.2f}" for name, value in found.items() if isinstance(value, float))
    return f"{method} at {layer}: {named}"


def _track(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Adds the figures to the variants' runs."""
    from cvd.tracking import add_to_run, arrange_explanations

    for variant, methods in found.items():
        add_to_run(
            variant=variant,
            model_path=args.models / f"{variant}.keras",
            metrics=arrange_explanations(methods),
            folder="explanations",
        )


if __name__ == "__main__":
    main()
