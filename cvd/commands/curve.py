"""`cvd curve`: what more training images would do, and the experiments that show it."""

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cvd.errors import InputError
from cvd.params import Params, load_params
from cvd.tracking import find_root


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be typed after `cvd curve`."""
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="default: all with experiments of several sizes")
    parser.add_argument(
        "--queue",
        action="store_true",
        help="queue experiments on 1/8, 1/4 and 1/2 of the training images, each with as many steps as on all",
    )
    parser.add_argument("--out", type=Path, default=Path("plots/sizes"), help="folder of the figure (%(default)s)")


def print_curve(args: argparse.Namespace) -> int:
    """Prints accuracy and gap against the number of training images as Markdown, and draws them; or queues.

    Raises:
        InputError: there are no experiments of several sizes; a variant is unknown.
    """
    root = find_root()
    if args.queue:
        return queue_sizes(root, load_params(root / "params.yaml"), args.variants)
    from cvd.evaluation.experiments import read_outcomes
    from cvd.evaluation.sizes import gather_sizes, is_enough, render_sizes, tabulate_sizes
    from cvd.files import replace_folder
    from cvd.vis.sizes import draw_sizes
    from cvd.vis.themes import save_figure

    outcomes = gather_sizes(read_outcomes(root), args.variants)
    table = tabulate_sizes(outcomes) if outcomes else None
    if table is None or not is_enough(table):
        raise InputError(
            "no variant was trained on several numbers of images: queue some with `cvd curve --queue baseline`, "
            "then `dvc queue start`"
        )
    if not args.variants:
        table = table[table.groupby("variant")["n_images"].transform("size") > 1]
    with replace_folder(root / args.out) as folder:
        table.to_csv(folder / "sizes.csv", index=False, lineterminator="\n")
        save_figure(draw_sizes(table), folder / "sizes.png")
    print(render_sizes(table), end="")
    print(f"\n{args.out / 'sizes.png'} shows it; `dvc repro -f -s report` takes it into the report.")
    return 0


def queue_sizes(root: Path, params: Params, variants: Sequence[str]) -> int:
    """Hands DVC an experiment for each size; they differ from the workspace in `split.train` and epochs only."""
    from cvd.evaluation.sizes import plan_sizes

    unknown = [name for name in variants if name not in params.variants]
    if unknown or not variants:
        asked = repr(unknown[0]) if unknown else "not named"
        raise InputError(f"the variant to train is {asked}: name some of {', '.join(params.variants)}")
    plan = plan_sizes(_count_train(root, params), {name: params.variants[name].epochs for name in variants})
    for n_images, epochs in plan:
        changes = [f"split.train={n_images}", *(f"variants.{name}.epochs={n}" for name, n in epochs.items())]
        command = ["dvc", "exp", "run", "--queue", *(part for each in changes for part in ("-S", each))]
        command += [f"evaluate@{name}" for name in variants]
        print("+", *command, flush=True)
        done = subprocess.run(command, cwd=root, check=False)
        if done.returncode:
            raise InputError(f"`dvc exp run --queue` ended with {done.returncode}: nothing more was queued")
    print("Start them with `dvc queue start`, watch them with `dvc queue status`, then `cvd curve`.")
    return 0


def _count_train(root: Path, params: Params) -> int:
    """Training images of each class: as params.yaml asks, or where it asks for the rest, as the manifest has them."""
    if params.split.train is not None:
        return params.split.train
    from cvd.data.manifest import read_manifest

    manifest = read_manifest(root / "data/manifest.csv")
    return int((manifest["split"] == "train").sum()) // 2
