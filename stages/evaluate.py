"""Evaluate: predictions of one variant's saved model on all splits, and what they amount to."""

import argparse

from cvd import tracking
from cvd.data.images.manifest import read_manifest
from cvd.evaluation.comparison import tell_changes
from cvd.evaluation.measures import evaluate_variant, read_predictions, tabulate_predictions, tabulate_test
from cvd.evaluation.overfitting import read_history, tabulate_curves
from cvd.evaluation.tables import write_table
from cvd.evaluation.verdict import describe_metrics
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json, replace_file, write_json
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.revisions.contents import find_former
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.vis.charts.diagnostics import draw_variant
from cvd.vis.charts.themes import save_figure


def main() -> None:
    paths = ("reads", "images", "manifest", "model", "history", "training", "predictions", "metrics", "figure")
    args = read_arguments(__doc__, names=("variant",), paths=paths)
    run_stage(lambda: work(args), f"evaluate@{args.variant}")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    if args.variant not in params.variants:
        raise InputError(f"--variant is {args.variant!r}: params.yaml has {', '.join(params.variants)}")
    history, training = read_history(args.history), read_json(args.training)
    with tracking.Courier() as courier:
        predict(args, params)
        # From here on only what was written counts, so that everyone can recompute it.
        predictions = read_predictions(args.predictions)
        metrics = evaluate_variant(predictions, history, training, **params.evaluate.model_dump())
        write_json(metrics, args.metrics)
        tables = tabulate_test(predictions, calibration_bins=params.evaluate.calibration_bins)
        with replace_file(args.figure) as partial:
            save_figure(draw_variant(args.variant, metrics, curves=tabulate_curves(history), tables=tables), partial)
        print(describe_metrics(args.variant, metrics))
        files = [args.metrics, args.predictions, args.figure]
        added = {"variant": args.variant, "model_path": args.model, "metrics": metrics, "files": files}
        courier.send(tracking.add_to_run, **added, folder="evaluation")
        for line in tell_changes([args.predictions], args.manifest, find_former([args.manifest, args.predictions])):
            print(line)


def predict(args: argparse.Namespace, params: Params) -> None:
    start_tensorflow()

    import tensorflow as tf

    from cvd.machine.threads import set_threads
    from cvd.models.networks.prediction import predict_splits
    from cvd.models.networks.saving import load_network

    set_threads(params.train.threads)
    tf.config.experimental.enable_op_determinism()
    variant, manifest, model = params.variants[args.variant], read_manifest(args.manifest), load_network(args.model)
    folder = args.images if variant.input == "files" else args.reads
    logits = predict_splits(model, variant.input, folder, manifest, share=variant.share)
    rows = manifest[manifest["path"].isin(list(logits))]
    with replace_file(args.predictions) as partial:
        write_table(tabulate_predictions(rows, [logits[path] for path in rows["path"]]), partial)


if __name__ == "__main__":
    main()
