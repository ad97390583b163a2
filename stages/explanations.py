"""Explanations: a network's heat maps, for pictures too, and in numbers whether they mean something."""

import argparse

import numpy as np
import pandas as pd

from cvd.data.images.manifest import choose_images, read_manifest
from cvd.data.images.pixels import load_images
from cvd.evaluation.measures import read_predictions, select_test
from cvd.evaluation.mistakes import choose_telling
from cvd.runtime.files import write_json
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import name_classes


def main() -> None:
    paths = ("model", "images", "manifest", "masks", "predictions", "checkpoints", "metrics", "heatmaps")
    args = read_arguments(__doc__, names=("variant",), paths=paths)
    run_stage(lambda: work(args), f"explanations@{args.variant}")


def work(args: argparse.Namespace) -> None:
    settings, pictures = (params := load_params()).explanations, params.gradcam
    start_tensorflow()

    import tensorflow as tf

    from cvd.machine.threads import set_threads
    from cvd.models.networks.mirroring import remove_mirror
    from cvd.models.networks.saving import load_network, restore_checkpoints
    from cvd.vis.examining.figures import Scope, describe_figures, examine, read_masks
    from cvd.vis.examining.watermarks import add_watermarks
    from cvd.vis.explaining.heatmaps import name_epoch, write_heatmaps
    from cvd.vis.explaining.methods import resolve_method
    from cvd.vis.explaining.views import Viewer

    set_threads(params.train.threads)
    tf.config.experimental.enable_op_determinism()
    manifest, model = read_manifest(args.manifest), remove_mirror(load_network(args.model))
    shown, checked = (list(dict.fromkeys(choose_images(manifest, n))) for n in (pictures.images, settings.images))
    telling = pd.concat(choose_telling(select_test(read_predictions(args.predictions)), pictures.mistakes))["path"]
    examined, labels = list(dict.fromkeys([*checked, *telling])), name_classes(manifest["path"], manifest["label"])
    pair = Viewer(args.variant, model, pictures.layers, method=pictures.method, labels=labels)
    paths = list(dict.fromkeys([*examined, *shown]))
    images = dict(zip(paths, load_images(args.images, paths, pair.size_px), strict=True))
    scope = Scope(settings.methods, settings.layers, settings.perturbed, settings.steps, settings.randomised)
    stack = np.stack([images[path] for path in examined])  # (n, s, s, 3)
    examination = examine(model, stack, read_masks(args.masks, checked), scope, seed=params.seed)
    add_watermarks(examination.figures, model, args.images, args.masks, scope, seed=params.seed)
    write_json(examination.figures, args.metrics, indent=1)
    pixels = np.stack([images[path] for path in shown])  # (n, s, s, 3)
    sets = {"shown": pair.explain(pixels, shown, (-1, 1))}
    # Maps that are not there yet may take minutes: only those that sheets are likely to show.
    some = list(dict.fromkeys([*checked[: settings.randomised], *telling]))
    for name, method in (("named", resolve_method(pictures.method)), ("averaged", "gradcam")):
        viewer = Viewer(args.variant, model, method=method, only_last=True, labels=labels)
        sets[name] = viewer.explain_most(images, some, examination.logits, examination.maps.get(method, {}))
    for epoch in restore_checkpoints(args.checkpoints, model):
        sets[name_epoch(epoch)] = pair.explain(pixels, shown, (-1, 1))
    write_heatmaps(args.heatmaps, **sets)
    print(f"{args.variant}: {describe_figures(examination.figures)}", flush=True)


if __name__ == "__main__":
    main()
