"""Evaluate: predictions of one variant's saved model on all splits, and what they amount to."""

import argparse
import json
from pathlib import Path

import pandas as pd

from cvd.data.images.manifest import read_manifest, select_split
from cvd.evaluation.calibration import tabulate_reliability
from cvd.evaluation.measures import (
    SPLITS,
    evaluate_variant,
    read_predictions,
    render_json,
    tabulate_confusion,
    tabulate_predictions,
    tabulate_roc,
)
from cvd.evaluation.overfitting import read_history, tabulate_curves
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True)
    for name in (
        "reads",
        "manifest",
        "model",
        "history",
        "training",
        "predictions",
        "metrics",
        "curves",
        "roc",
        "reliability",
        "confusion",
    ):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--figure", type=Path, help="a sheet with the variant's curves, ROC, reliability and confusion")
    return parser.parse_args()


def predict_manifest(args: argparse.Namespace, params: Params) -> pd.DataFrame:
    """Predictions of all rows of the manifest that are in use, in its order."""
    import keras
    import tensorflow as tf
    from tqdm import tqdm

    from cvd.data.examples.reading import read_features, read_files, read_shards
    from cvd.evaluation.prediction import predict_logits
    from cvd.machine.threads import set_threads
    from cvd.models.networks.head import split_head

    set_threads(params.train.threads)
    tf.config.experimental.enable_op_determinism()
    manifest = read_manifest(args.manifest)
    variant = params.variants[args.variant]
    model = keras.models.load_model(args.model, compile=False)
    if variant.input == "features":
        model = split_head(model)
    logits = pd.Series(0.0, index=manifest.index, dtype="float32")
    for split in SPLITS:
        if variant.input == "features":
            examples = read_features(args.reads, split)
        elif variant.input == "shards":
            examples = read_shards(args.reads, split, memory_bytes=0)
        else:
            examples = read_files(args.reads, manifest, split, size_px=model.input_shape[1], memory_bytes=0)
        rows = select_split(manifest, split)
        if list(rows["path"]) != examples.paths:
            raise InputError(
                f"{args.reads} and {args.manifest} list different images of {split}: "
                f"run `dvc repro evaluate@{args.variant}`"
            )
        bar = tqdm(total=len(examples), desc=f"predict {args.variant} {split}", unit="image")
        with bar:
            logits[manifest["split"] == split] = predict_logits(model, examples, advance=bar.update)
    used = manifest["split"].isin(SPLITS)
    return tabulate_predictions(manifest[used], logits[used].to_numpy())


def write_table(frame: pd.DataFrame, path: Path) -> None:
    with replace_file(path) as partial:
        frame.to_csv(partial, index=False, lineterminator="\n")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    start_tensorflow()
    if args.variant not in params.variants:
        raise InputError(f"--variant is {args.variant!r}: params.yaml has {', '.join(params.variants)}")
    for path in (args.model, args.training):
        if not path.is_file():
            raise InputError(f"{path} is missing: make it with `dvc repro train@{args.variant}`")
    history = read_history(args.history)
    training = json.loads(args.training.read_text(encoding="utf-8"))
    write_table(predict_manifest(args, params), args.predictions)
    # From here on only what was written counts, so that everyone can recompute it.
    predictions = read_predictions(args.predictions)
    options = params.evaluate
    metrics = evaluate_variant(
        predictions, history, training, n_bins=options.calibration_bins, onset_tolerance=options.onset_tolerance
    )
    test = predictions[predictions["split"] == "test"]
    tables = {
        "curves": tabulate_curves(history),
        "roc": tabulate_roc(test),
        "reliability": tabulate_reliability(
            test["label"].to_numpy(), test["probability"].to_numpy(), options.calibration_bins
        ),
        "confusion": tabulate_confusion(test),
    }
    for name, table in tables.items():
        write_table(table, getattr(args, name))
    with replace_file(args.metrics) as partial:
        partial.write_text(render_json(metrics), encoding="utf-8")
    if args.figure:
        draw_sheet(args, metrics, tables)
    print_summary(args.variant, metrics)
    track(args, metrics)


def draw_sheet(args: argparse.Namespace, metrics: dict, tables: dict[str, pd.DataFrame]) -> None:
    from cvd.vis.charts.diagnostics import draw_variant
    from cvd.vis.charts.themes import save_figure

    figure = draw_variant(
        args.variant, metrics, curves=tables["curves"], roc=tables["roc"], reliability=tables["reliability"]
    )
    with replace_file(args.figure) as partial:
        save_figure(figure, partial)


def print_summary(variant: str, metrics: dict) -> None:
    test, overfitting = metrics["test"], metrics["overfitting"]
    print(
        f"{variant}: test accuracy {test['accuracy']:.4f} ({test['accuracy_low']:.4f} to {test['accuracy_high']:.4f}), "
        f"train {metrics['train']['accuracy']:.4f}, validation {metrics['validation']['accuracy']:.4f}, "
        f"gap {overfitting['accuracy_gap']:+.4f}, "
        f"best epoch {overfitting['best_epoch']} of {metrics['training']['epochs']}"
    )


def track(args: argparse.Namespace, metrics: dict) -> None:
    from cvd import tracking

    files = [args.metrics, args.predictions, *([args.figure] if args.figure else [])]
    tracking.add_to_run(variant=args.variant, model_path=args.model, metrics=metrics, files=files, folder="evaluation")


def main() -> None:
    args = parse_arguments()
    run_stage(lambda: work(args), f"evaluate@{args.variant}")


if __name__ == "__main__":
    main()
