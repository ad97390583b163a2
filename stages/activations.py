"""Activations: what every channel of every convolution and pooling layer answers to an image."""

import argparse

from tqdm import tqdm

from cvd.data.images.manifest import choose_images, read_manifest
from cvd.data.images.pixels import load_images
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import name_classes
from cvd.vis.explaining.layers import check_channels, choose_activation_layers
from cvd.vis.sheets.channels import write_activations


def main() -> None:
    args = read_arguments(__doc__, names=("variant",), paths=("model", "images", "manifest", "out"))
    run_stage(lambda: work(args), f"activations@{args.variant}")


def work(args: argparse.Namespace) -> None:
    settings = load_params().activations
    channels = settings.channels or ()
    start_tensorflow()

    from cvd.models.networks.mirroring import remove_mirror
    from cvd.models.networks.saving import load_network
    from cvd.vis.explaining.graphs import compute_activations, compute_probabilities, input_side, make_scorer

    manifest = read_manifest(args.manifest)
    paths = choose_images(manifest, settings.images)
    model = remove_mirror(load_network(args.model))
    layers = choose_activation_layers(model, settings.layers)
    check_channels(model, layers, channels)
    images = load_images(args.images, paths, input_side(model))  # (n, s, s, 3)
    activations = compute_activations(model, images, layers=layers)
    sizes = [values.shape[-1] for values in activations.values()]
    probabilities, positive = (
        compute_probabilities(make_scorer(model)(images))[:, 0],
        name_classes(manifest["path"], manifest["label"])[1],
    )
    with replace_folder(args.out) as folder:
        for i, path in enumerate(tqdm(paths, desc=f"drawing {args.variant}", unit="image", disable=None)):
            values = {layer: answers[i] for layer, answers in activations.items()}
            answer = f"P({positive}) {probabilities[i]:.3f}"
            words = {"variant": args.variant, "path": path, "answer": answer}
            write_activations(folder, images[i], values, **words, channels=channels)
    print(f"{args.variant}: {len(layers)} layers, {sum(sizes):,} channels, {len(paths)} images")


if __name__ == "__main__":
    main()
