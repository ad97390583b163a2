"""Train: one variant's network on its examples, kept with its history, its times and a table of its layers."""

import argparse
import os
from dataclasses import fields
from functools import partial
from pathlib import Path

from cvd import tracking
from cvd.machine.hardware import describe_device
from cvd.machine.threads import set_threads
from cvd.runtime.files import digest_files
from cvd.runtime.params.graph import Entry, check_entry, describe_configuration
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.training.distributed.cluster import has_other_chief
from cvd.training.identity import digest_inputs, make_key

SCRIPT = Path(__file__)
KEYS = [field.name for field in fields(Entry)]
OUTPUTS = ("model", "history", "timing", "training", "layers", "checkpoints")


def main() -> None:
    args = read_arguments(__doc__, names=("variant", *KEYS), paths=("images", "manifest", *OUTPUTS))
    run_stage(lambda: work(args), f"train@{args.variant}", holds_lock=not has_other_chief())


def work(args: argparse.Namespace) -> None:
    params = load_params()
    check_entry(params, args.variant, Entry(**{key: getattr(args, key) for key in KEYS}))
    start_tensorflow()
    from cvd.training.distributed.joining import join_training
    from cvd.training.fitting import train_variant
    from cvd.training.plan import Sources, choose_precision
    from cvd.training.state import open_state_folder

    set_threads(params.train.threads)
    devices = join_training(params.train.strategy)  # before TensorFlow does anything else
    variant = params.variants[args.variant].model_dump()
    folder = args.images if variant["input"] == "files" else Path(args.reads)
    precision = choose_precision(variant, params.train.precision)
    configuration = describe_configuration(params, args.variant) | {"precision": precision}
    sources = Sources(folder, Path(args.network), args.manifest)
    outputs, size_px = {name: getattr(args, name) for name in OUTPUTS}, getattr(params, args.pixels).size_px
    train = partial(train_variant, args.variant, configuration, sources, outputs, size_px=size_px, devices=devices)

    indices = digest_files([sources.manifest, *sources.reads.glob("index.json")])
    devices.require_alike(make_key({**configuration, "data": indices}, script=SCRIPT))
    if not devices.is_chief:
        train()
        return
    data = digest_inputs(variant, manifest=sources.manifest, reads=sources.reads, network=sources.network)
    key = make_key({**configuration, "data": data}, script=SCRIPT)
    with (
        tracking.track_training(
            variant=args.variant,
            stage=f"train@{args.variant}",
            params=params.model_dump(mode="json"),
            data=data,
            precision=precision,
            processor=describe_device(),
            resume_key=key,
        ) as run,
        open_state_folder(Path(os.environ.get("DVC_ROOT", ".")) / ".cvd/training", key) as state_folder,
    ):
        train(state_folder=state_folder, on_epoch=run.log_epoch)
        run.log_files([args.history, args.training, args.timing, args.layers], "training")
        run.log_model(args.model)


if __name__ == "__main__":
    main()
