"""Check: refuse what cannot work, in params.yaml and in the graph, before any other stage runs and deletes outputs."""

import argparse
from collections.abc import Sequence

from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.params.references import check_counts, check_graph, check_paths, name_layers, read_graph
from cvd.runtime.project import find_root
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow

# Always the same, so that no stage that depends on it runs again.
TEXT = "params.yaml and the graph in dvc.yaml were checked before any other stage ran.\n"


def main() -> None:
    args = read_arguments(__doc__, paths=("params", "pipeline", "out"))
    run_stage(lambda: work(args), "check")


def work(args: argparse.Namespace) -> None:
    params = load_params(args.params)
    entries, networks = read_graph(args.pipeline)
    check_graph(params, entries)
    check_paths(params, find_root())
    check_counts(params)
    check_layers(params, networks)
    with replace_file(args.out) as partial:
        partial.write_text(TEXT, encoding="utf-8")


def check_layers(params: Params, networks: Sequence[str]) -> None:
    """Build the networks that are drawn, which takes seconds, and only where params.yaml names layers.

    Raises:
        InputError: a network has no such layer, or the method takes no layers.
    """
    named = name_layers(params)
    if not named:
        return
    start_tensorflow()

    from cvd.models.pretrained.outline import outline_network
    from cvd.vis.explaining.methods import choose_layers

    size_px, backbone = params.image.size_px, params.backbone.model_dump()
    for name in networks:
        model = outline_network(params.variants[name].model_dump(), size_px=size_px, backbone=backbone)
        for parameter, layers, methods in named:
            for method in methods:
                try:
                    choose_layers(model, layers, method=method)
                except InputError as error:
                    raise InputError(f"{parameter} does not fit {name}: {error}") from error


if __name__ == "__main__":
    main()
