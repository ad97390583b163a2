"""Sizes: one variant's network trained on 1/8, 1/4 and 1/2 of the training images, beside the one trained on all."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cvd.data.manifest import read_manifest, write_manifest
from cvd.data.subset import keep_features, keep_share
from cvd.errors import InputError
from cvd.evaluation.sizes import PARTS, lengthen_training, render_sizes, tabulate_sizes
from cvd.files import replace_file, replace_folder
from cvd.params import Params, load_params
from cvd.stage import run_stage
from cvd.vis.sizes import draw_sizes
from cvd.vis.themes import save_figure

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
    for name in ("reads", "network", "manifest", "metrics", "out", "figure"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("pixels", "section"):
        parser.add_argument(f"--{name}", required=True, help="a section of params.yaml, as for the train stage")
    return parser.parse_args()


def work(args: argparse.Namespace) -> None:
    params = load_params()
    if args.variant not in params.variants:
        raise InputError(f"--variant is {args.variant!r}: params.yaml has {', '.join(params.variants)}")
    if params.variants[args.variant].input == "shards":
        raise InputError(f'variants.{args.variant}.input is "shards", which hold all images: name one that reads files')
    measured = {}
    with replace_folder(args.out) as folder:
        for part in PARTS:
            measured[part] = train_part(args, params, part, folder)
        measured["all"] = json.loads(args.metrics.read_text(encoding="utf-8"))
        table = tabulate_sizes(args.variant, measured.values())
        table.to_csv(folder / "sizes.csv", index=False, lineterminator="\n")
    with replace_file(args.figure) as partial:
        save_figure(draw_sizes(table), partial)
    print(render_sizes(table), end="")


def train_part(args: argparse.Namespace, params: Params, part: str, folder: Path) -> dict[str, Any]:
    """Trains and measures the network on a part, by the stages that do it for all images.

    They run in a folder of their own with a variant of their own, `baseline_half` for instance, so that locks, state to
    resume from and runs in MLflow are its own too.

    Returns:
        What metrics/VARIANT.json would hold.
    """
    name = f"{args.variant}_{part}"
    state = Path(".cvd")
    state.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=state) as place:
        here = Path(place).absolute()
        manifest = read_manifest(args.manifest)
        kept = keep_share(manifest, PARTS[part])
        write_manifest(kept.to_dict("records"), here / "manifest.csv")  # type: ignore[arg-type]
        reads = args.reads.absolute()
        if params.variants[args.variant].input == "features":
            reads = here / "features"
            keep_features(args.reads, kept, reads)
        n_all, n_kept = ((rows["split"] == "train").sum() for rows in (manifest, kept))
        settings = params.model_dump(mode="json")
        settings["variants"][name] = lengthen_training(settings["variants"][args.variant], n_all / n_kept)
        (here / "params.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        common = ["--variant", name, "--reads", str(reads)]
        graph = ["--network", str(args.network.absolute()), "--pixels", args.pixels, "--section", args.section]
        run_apart("train", here, name, [*common, *graph], TRAINED)
        run_apart("evaluate", here, name, common, EVALUATED)
        for ending in KEPT:
            shutil.copy(here / f"{name}.{ending}", folder / f"{part}.{ending}")
        found: dict[str, Any] = json.loads((here / f"{name}.metrics.json").read_text(encoding="utf-8"))
    return found


def run_apart(stage: str, here: Path, name: str, options: list[str], files: dict[str, str]) -> None:
    """Runs another stage's script in a folder of its own.

    Raises:
        InputError: it failed, and has said why.
    """
    paths = [part for option, end in files.items() for part in (f"--{option}", str(here / f"{name}.{end}"))]
    command = [sys.executable, "-m", f"stages.{stage}", *options, "--manifest", str(here / "manifest.csv"), *paths]
    found_in = os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, cwd=here, env=os.environ | {"PYTHONPATH": found_in}, check=False)
    if done.returncode:
        raise InputError(f"stage {stage} of {name} ended with {done.returncode}: it says why above")


def main() -> None:
    args = parse_arguments()
    run_stage(lambda: work(args), f"sizes@{args.variant}")


if __name__ == "__main__":
    main()
