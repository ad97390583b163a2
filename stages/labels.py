"""Labels: which given labels look wrong, by the answers of classifiers that never saw the image."""

import argparse

import numpy as np
import pandas as pd

from cvd.data.images.manifest import read_manifest
from cvd.data.images.pixels import decode_image, load_images
from cvd.labels.ranking import Answers, answer_out_of_fold
from cvd.labels.results import describe_labels, read_features, summarise_labels, tabulate_labels
from cvd.labels.tables import COLUMNS, SUSPECT
from cvd.runtime.files import replace_file, write_json
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import Classes, name_classes
from cvd.vis.sheets.drawing import write_png
from cvd.vis.sheets.galleries import Suspect, draw_suspects
from cvd.vis.sheets.overlays import limit_size

PATHS = ("features", "images", "manifest", "backbone", "predictions", "metrics", "sheet")


def main() -> None:
    args = read_arguments(__doc__, paths=PATHS)
    run_stage(lambda: work(args), "labels")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    rows, features = read_features(args.features, read_manifest(args.manifest))
    labels, groups = rows["label"].to_numpy(), rows["group"].to_numpy()
    answers = answer_out_of_fold(features, labels, groups, n_folds=params.labels.folds, seed=params.seed)
    table = tabulate_labels(rows, answers)
    summary = summarise_labels(table)
    classes = name_classes(table["path"], table["label"])
    sheet = draw_worst(
        args, table.head(params.labels.shown), answers, len(table), classes, threads=params.train.threads
    )
    with replace_file(args.predictions) as partial:
        table[list(COLUMNS)].to_csv(partial, index=False, lineterminator="\n")
    with replace_file(args.sheet) as partial:
        write_png(sheet, partial)
    write_json(summary, args.metrics, indent=1)
    print(describe_labels(summary))


def draw_worst(
    args: argparse.Namespace, worst: pd.DataFrame, answers: Answers, n_images: int, classes: Classes, *, threads: int
) -> np.ndarray:
    """Draw images with the heat for both classes, each by the classifier of the fold that it was held out in."""
    start_tensorflow()

    from cvd.machine.threads import set_threads
    from cvd.models.networks.backbone import load_backbone
    from cvd.models.networks.head import attach_head, build_head
    from cvd.vis.explaining.views import Viewer

    set_threads(threads)
    model = attach_head(load_backbone(args.backbone), build_head(n_features=answers.weights.shape[1], dropout=0.0))
    viewer = Viewer("labels", model, only_last=True, labels=classes)
    suspects: dict[str, Suspect] = {}
    for fold in sorted(set(worst["fold"])):
        model.get_layer("logit").set_weights([answers.weights[fold][:, None], answers.biases[[fold]]])
        rows = worst[worst["fold"] == fold].to_dict("records")
        paths = [str(row["path"]) for row in rows]
        seen = viewer.explain(load_images(args.images, paths, viewer.size_px), paths, (-1, 1))
        for path, row in zip(paths, rows, strict=True):
            image, is_suspect = limit_size(decode_image(args.images / path)), row["verdict"] == SUSPECT
            suspects[path] = Suspect(path, image, row["label"], row["probability"], is_suspect, seen.view(path))
    return draw_suspects([suspects[path] for path in worst["path"]], heat=seen.describe(), n_images=n_images)


if __name__ == "__main__":
    main()
