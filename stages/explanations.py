"""Explanations: whether heat maps mean something, in numbers: randomisation, deletion, insertion, pointing game."""

import argparse
from typing import TYPE_CHECKING

from cvd.data.images.manifest import choose_images, read_manifest
from cvd.data.images.pixels import decode_image, resize_image
from cvd.runtime.files import write_json
from cvd.runtime.params.graph import choose_networks
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    from cvd.vis.explaining.figures import Figures


def main() -> None:
    args = read_arguments(__doc__, paths=("images", "manifest", "masks", "models", "metrics"))
    run_stage(lambda: work(args), "explanations")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    settings = params.explanations
    variants = choose_networks(params, settings.variants, args.models)
    start_tensorflow()

    import tensorflow as tf

    from cvd.machine.threads import set_threads
    from cvd.models.networks.saving import load_network
    from cvd.vis.explaining.figures import check_explanations, read_masks
    from cvd.vis.explaining.graphs import input_side

    set_threads(params.train.threads)
    tf.config.experimental.enable_op_determinism()
    paths = choose_images(read_manifest(args.manifest), settings.images)
    images = [decode_image(args.images / path) for path in paths]
    masks = read_masks(args.masks, paths)
    figures: dict[str, Figures] = {}
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
    write_json(figures, args.metrics, indent=1)


def describe(figures: "Figures") -> str:
    """Name the figures of the first method's last layer."""
    method, layers = next(iter(figures.items()))
    layer, measured = list(layers.items())[-1]
    named = ", ".join(f"{name} {value:.2f}" for name, value in measured.items() if isinstance(value, float))
    return f"{method} at {layer}: {named}"


if __name__ == "__main__":
    main()
