"""Sizes: one variant's network trained on 1/8, 1/4 and 1/2 of the training images, beside the one trained on all."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from cvd.data.examples.subset import cut_parts, keep_features
from cvd.data.images.manifest import read_manifest, select_split, write_manifest
from cvd.evaluation.measures import read_predictions
from cvd.evaluation.sizes import MOST_EPOCHS, PARTS, lengthen_training, render_sizes, tabulate_sizes
from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file, replace_folder
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.stage import run_stage
from cvd.vis.charts.sizes import draw_sizes
from cvd.vis.charts.themes import save_figure

TRAINED = {  # options of the train stage that name its outputs, and how they end here
    "model": "keras",
    "history": "history.csv",
    "timing": "timing.json",
    "training": "training.json",
    "layers": "layers.md",
}
EVALUATED = {name: TRAINED[name] for name in ("model", "history", "training")} | {
    name: f"{name}.csv" for name in ("predictions", "curves", "roc", "reliability", "confusion")
} | {"metrics": "metrics.json"}  # fmt: skip
KEPT = ("history.csv", "predictions.csv", "metrics.json")  # of each part


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="a block of params.yaml's `variants`")
    for name in ("reads", "network", "manifest", "predictions", "metrics", "out", "figure"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("pixels", "section"):
        parser.add_argument(f"--{name}", required=True, help="a section of params.yaml, as for the train stage")
    return parser.parse_args()


def work(args: argparse.Namespace) -> None:
    params = load_params()
    check_training(args.variant, params)
    manifest = read_manifest(args.manifest)
    predictions = {"all": read_predictions(args.predictions)}
    check_test_images(args, manifest, predictions["all"])
    parts = cut_parts(manifest, PARTS)
    blocks = {part: choose_block(args.variant, params, manifest, kept) for part, kept in parts.items()}
    metrics = {"all": args.metrics}
    with replace_folder(args.out) as folder, open_place(Path(".cvd/sizes") / args.variant) as place:
        for part, kept in parts.items():
            train_part(args, params, f"{args.variant}_{part}", blocks[part], kept, place / part)
            for ending in KEPT:
                shutil.copy(place / part / f"{args.variant}_{part}.{ending}", folder / f"{part}.{ending}")
            predictions[part] = read_predictions(folder / f"{part}.predictions.csv")
            metrics[part] = folder / f"{part}.metrics.json"
        measured = {part: json.loads(path.read_text(encoding="utf-8")) for part, path in metrics.items()}
        table = tabulate_sizes(args.variant, measured, predictions, **params.compare.model_dump())
        table.to_csv(folder / "sizes.csv", index=False, lineterminator="\n")
    with replace_file(args.figure) as partial:
        save_figure(draw_sizes(table), partial)
    print(render_sizes(table), end="")


def check_training(name: str, params: Params) -> None:
    """Refuses what cannot be trained on parts.

    Raises:
        InputError: there is no such variant, it reads shards, or several processes are asked for.
    """
    if name not in params.variants:
        raise InputError(f"--variant is {name!r}: params.yaml has {', '.join(params.variants)}")
    if params.variants[name].input == "shards":
        raise InputError(f'variants.{name}.input is "shards", which hold all images: name one that reads files')
    if params.train.strategy == "multi_worker":
        raise InputError('train.strategy is "multi_worker": the stage sizes trains in one process, use one or mirrored')


def check_test_images(args: argparse.Namespace, manifest: pd.DataFrame, predictions: pd.DataFrame) -> None:
    """Makes sure that the parts will be tested on the same images as all.

    Raises:
        InputError: the predictions are of another split.
    """
    wanted, found = (select_split(rows, "test")[["path", "label"]] for rows in (manifest, predictions))
    if wanted.to_numpy().tolist() != found.to_numpy().tolist():
        raise InputError(
            f"{args.predictions} is of other test images than {args.manifest}: "
            f"make it anew with `dvc repro evaluate@{args.variant}`"
        )


def choose_block(name: str, params: Params, manifest: pd.DataFrame, kept: pd.DataFrame) -> dict[str, Any]:
    """The block of params.yaml's `variants` that trains a part in as many steps as all images take.

    Raises:
        InputError: that would be more epochs than params.yaml takes.
    """
    n_all, n_kept = (len(select_split(rows, "train")) for rows in (manifest, kept))
    block = params.variants[name].model_dump(mode="json")
    longer = lengthen_training(block, n_all=n_all, n_kept=n_kept, batch_size=params.train.batch_size)
    if longer["epochs"] > MOST_EPOCHS:
        raise InputError(
            f"variants.{name}.epochs is {block['epochs']}: as many steps on {n_kept:,} images take "
            f"{longer['epochs']:,} epochs, but {MOST_EPOCHS:,} is the most: lower it"
        )
    return longer


@contextmanager
def open_place(path: Path) -> Iterator[Path]:
    """An empty folder, as an absolute path, which is removed at the end; what a killed process left goes first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path.absolute()
    finally:
        shutil.rmtree(path)


def train_part(
    args: argparse.Namespace, params: Params, name: str, block: Mapping[str, Any], kept: pd.DataFrame, here: Path
) -> None:
    """Trains and measures the network on a part, by the stages that do it for all images.

    They run in a folder of their own with a variant of their own, `baseline_half` for instance, so that locks, state to
    resume from and runs in MLflow are its own too.

    Args:
        args: the stage's.
        params: the project's.
        name: of the part's variant, which files are named after.
        block: of that variant.
        kept: the part's manifest, as of `cvd.data.examples.subset.cut_parts`.
        here: absolute path of the folder, which is created.
    """
    here.mkdir()
    write_manifest(kept.to_dict("records"), here / "manifest.csv")  # type: ignore[arg-type]
    reads = args.reads.absolute()
    if params.variants[args.variant].input == "features":
        reads = here / "features"
        keep_features(args.reads, kept, reads)
    settings = params.model_dump(mode="json")
    settings["variants"][name] = block
    (here / "params.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    common = ["--variant", name, "--reads", str(reads)]
    graph = ["--network", str(args.network.absolute()), "--pixels", args.pixels, "--section", args.section]
    run_stage_apart("train", here, name, [*common, *graph], TRAINED)
    run_stage_apart("evaluate", here, name, common, EVALUATED)


def run_stage_apart(stage: str, here: Path, name: str, options: list[str], files: Mapping[str, str]) -> None:
    """Runs another stage's script in a folder of its own; whatever ends this process ends that one first.

    Raises:
        InputError: it failed.
    """
    paths = [part for option, end in files.items() for part in (f"--{option}", str(here / f"{name}.{end}"))]
    command = [sys.executable, "-m", f"stages.{stage}", *options, "--manifest", str(here / "manifest.csv"), *paths]
    found_in = os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])
    # It inherits that, as a terminal sends Ctrl-C to it too: told once, by this process, it unwinds undisturbed.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, cwd=here, env=os.environ | {"PYTHONPATH": found_in})
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        status = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    if status:
        raise InputError(f"stage {stage} of {name} {describe_end(status)}")


def describe_end(status: int) -> str:
    """What a process' exit status other than 0 says: negative for the signal that killed it."""
    if status == -signal.SIGKILL:
        return f"was killed by signal {-status}: the system does so where memory runs out"
    if status < 0:
        return f"was killed by signal {-status}"
    return f"failed with exit status {status}: what it wrote stands above"


def main() -> None:
    args = parse_arguments()
    run_stage(lambda: work(args), f"sizes@{args.variant}")


if __name__ == "__main__":
    main()
