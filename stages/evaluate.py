"""Evaluate: predictions of one variant's saved model on all splits, and what they amount to."""

import argparse

import pandas as pd

from cvd import tracking
from cvd.data.images.manifest import read_manifest
from cvd.evaluation.measures import evaluate_variant, read_predictions, tabulate_predictions, tabulate_test
from cvd.evaluation.overfitting import read_history, tabulate_curves
from cvd.evaluation.tables import write_table
from cvd.evaluation.verdict import describe_metrics
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json, replace_file, write_json
from cvd.runtime.params.loading import load_params
from cvd.runtime.params.variants import Variant
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import SPLITS
from cvd.vis.charts.diagnostics import draw_variant
from cvd.vis.charts.themes import save_figure


def main() -> None:
    paths = ("reads", "manifest", "model", "history", "training", "predictions", "metrics", "figure")
    args = read_arguments(__doc__, names=("variant",), paths=paths)
    run_stage(lambda: work(args), f"evaluate@{args.variant}")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    if args.variant not in params.variants:
        raise InputError(f"--variant is {args.variant!r}: params.yaml has {', '.join(params.variants)}")
    history, training = read_history(args.history), read_json(args.training)
    start_tensorflow()
    predictions = predict_images(args, params.variants[args.variant], params.train.threads)
    with replace_file(args.predictions) as partial:
        write_table(predictions, partial)
    # From here on only what was written counts, so that everyone can recompute it.
    predictions = read_predictions(args.predictions)
    metrics = evaluate_variant(predictions, history, training, **params.evaluate.model_dump())
    write_json(metrics, args.metrics)
    tables = tabulate_test(predictions, calibration_bins=params.evaluate.calibration_bins)
    with replace_file(args.figure) as partial:
        save_figure(draw_variant(args.variant, metrics, curves=tabulate_curves(history), tables=tables), partial)
    print(describe_metrics(args.variant, metrics))
    files = [args.metrics, args.predictions, args.figure]
    tracking.add_to_run(variant=args.variant, model_path=args.model, metrics=metrics, files=files, folder="evaluation")


def predict_images(args: argparse.Namespace, variant: Variant, threads: int) -> pd.DataFrame:
    """Predict the images that the variant is trained or measured on, in the manifest's order."""
    import tensorflow as tf
    from tqdm import tqdm

    from cvd.data.examples.pipeline import make_evaluation_dataset, reveal_input_errors
    from cvd.data.examples.reading import read_split
    from cvd.data.examples.subset import take_share
    from cvd.machine.threads import set_threads
    from cvd.models.networks.head import split_head
    from cvd.models.networks.prediction import BATCH_SIZE, predict_logits
    from cvd.models.networks.saving import load_network

    set_threads(threads)
    tf.config.experimental.enable_op_determinism()
    manifest, model = read_manifest(args.manifest), load_network(args.model)
    network = split_head(model) if variant.input == "features" else model
    logits: dict[str, float] = {}
    for split in SPLITS:
        examples = read_split(variant.input, args.reads, manifest, split, size_px=model.input_shape[1])
        examples = take_share(examples, manifest, variant.share if split == "train" else 1)
        batches = make_evaluation_dataset(examples, batch_size=BATCH_SIZE)
        with reveal_input_errors(), tqdm(total=len(examples), desc=f"predict {split}", unit="image") as bar:
            logits |= zip(examples.paths, predict_logits(network, batches, advance=bar.update), strict=True)
    rows = manifest[manifest["path"].isin(list(logits))]
    return tabulate_predictions(rows, [logits[path] for path in rows["path"]])


if __name__ == "__main__":
    main()
