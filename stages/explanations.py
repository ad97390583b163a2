"""Explanations: whether heat maps mean something, in numbers: randomisation, deletion, insertion, pointing game."""

import json
from argparse import Namespace
from typing import Any

from cvd.runtime.files import replace_file
from cvd.runtime.params.graph import choose_networks
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.tracking import add_to_run, arrange_explanations


def main() -> None:
    args = read_arguments(__doc__, paths=["images", "manifest", "masks", "models", "metrics"])
    run_stage(lambda: measure_explanations(args), "explanations")


def measure_explanations(args: Namespace) -> None:
    params = load_params()
    settings = params.explanations
    variants = choose_networks(params, settings.variants, args.models)
    start_tensorflow()

    import tensorflow as tf

    from cvd.data.images.manifest import choose_images, read_manifest
    from cvd.data.images.pixels import decode_image, resize_image
    from cvd.machine.threads import set_threads
    from cvd.models.networks.saving import load_network
    from cvd.vis.explaining.figures import check_explanations, read_masks
    from cvd.vis.explaining.graphs import input_side

    set_threads(params.train.threads)
    tf.config.experimental.enable_op_determinism()
    paths = choose_images(read_manifest(args.manifest), settings.images)
    images = [decode_image(args.images / path) for path in paths]
    masks = read_masks(args.masks, paths)
    figures: dict[str, Any] = {}
    for variant in variants:
        model = load_network(args.models / f"{variant}.keras")
        figures[variant] = check_explanations(
            model,
            [resize_image(image, input_side(model)) for image in images],
            masks,
            methods=settings.methods,
            layers=settings.layers,
            n_perturbed=settings.perturbed,
            seed=params.seed,
        )
        print(f"{variant}: {describe(figures[variant])}", flush=True)
    with replace_file(args.metrics) as partial:
        partial.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for variant, methods in figures.items():
        path = args.models / f"{variant}.keras"
        add_to_run(variant=variant, model_path=path, metrics=arrange_explanations(methods), folder="explanations")


def describe(figures: dict[str, Any]) -> str:
    """Name the figures of the first method's last layer."""
    method, layers = next(iter(figures.items()))
    layer, measured = list(layers.items())[-1]
    named = ", ".join(f"{name} {value:.2f}" for name, value in measured.items() if isinstance(value, float))
    return f"{method} at {layer}: {named}"


if __name__ == "__main__":
    main()
