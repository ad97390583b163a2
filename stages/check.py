"""Check: refuse what cannot work, in params.yaml and in the graph, before any other stage runs and deletes outputs."""

import argparse
import os
from collections.abc import Iterable, Sequence

from cvd.data.faults.corrections import read_corrections
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.params.references import check_cluster, check_counts, check_graph, check_paths, name_layers, read_graph
from cvd.runtime.project import find_root
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow

# Always the same, so that no stage that depends on it runs again.
TEXT = "params.yaml and the graph in dvc.yaml were checked before any other stage ran.\n"


def main() -> None:
    args = read_arguments(__doc__, paths=("params", "pipeline", "corrections", "out"))
    run_stage(lambda: work(args), "check")


def work(args: argparse.Namespace) -> None:
    params = load_params(args.params)
    entries, networks = read_graph(args.pipeline)
    check_graph(params, entries)
    check_paths(params, find_root())
    check_counts(params)
    check_cluster(params, os.environ)
    read_corrections(args.corrections, params.data.choose_classes())
    check_networks(params, entries, networks)
    with replace_file(args.out) as partial:
        partial.write_text(TEXT, encoding="utf-8")


def check_networks(params: Params, variants: Iterable[str], networks: Sequence[str]) -> None:
    """Build networks, which takes seconds, and only where params.yaml names layers, channels or blocks to unfreeze.

    `variants` are all of the graph, `networks` those that are drawn.

    Raises:
        InputError: a network has no such layer or channel, or fewer blocks, or the method takes no layers.
    """
    named, drawn = name_layers(params), params.activations
    unfrozen = {name: n_blocks for name in variants if (n_blocks := getattr(params.variants[name], "unfreeze", 0))}
    inspected = list(networks) if named or drawn.channels else []
    if not inspected and not unfrozen:
        return
    start_tensorflow()

    from cvd.models.networks.finetuning import unfreeze_blocks
    from cvd.models.pretrained.outline import outline_network
    from cvd.vis.explaining.layers import check_channels, choose_activation_layers
    from cvd.vis.explaining.methods import choose_layers

    size_px, backbone = params.image.size_px, params.backbone.model_dump()
    for name in dict.fromkeys([*unfrozen, *inspected]):
        model = outline_network(params.variants[name].model_dump(), size_px=size_px, backbone=backbone)
        for parameter, layers, methods in named if name in inspected else ():
            for method in methods:
                try:
                    choose_layers(model, layers, method=method)
                except InputError as error:
                    raise InputError(f"{parameter} does not fit {name}: {error}") from error
        if drawn.channels and name in inspected:
            check_channels(model, choose_activation_layers(model, drawn.layers), drawn.channels)
        if name in unfrozen:
            try:
                unfreeze_blocks(model, unfrozen[name])
            except ValueError as error:
                fault = str(error).partition(": ")[2]
                raise InputError(f"variants.{name}.unfreeze is {unfrozen[name]}: {fault}") from error


if __name__ == "__main__":
    main()
