"""Train: one variant's network on its examples, kept with its history, its times and a table of its layers."""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvd import hardware, tracking
from cvd.data.examples import Examples, find_input, read_features, read_files, read_shards
from cvd.data.manifest import read_manifest
from cvd.errors import InputError
from cvd.params import Params, load_params
from cvd.sections import Variant
from cvd.stage import run_stage
from cvd.training_state import digest_files, make_key, open_state_folder

if TYPE_CHECKING:  # TensorFlow is loaded once the stage has quietened it
    import keras

    from cvd.data.pipeline import Augment
    from cvd.training import OnEpoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="a block of params.yaml's `variants`")
    for name in ("reads", "manifest", "backbone", "model", "history", "timing", "training", "layers"):
        parser.add_argument(f"--{name}", type=Path, required=name != "backbone")
    parser.add_argument("--section", required=True, help="the section of params.yaml that dvc.yaml's graph gives it")
    args = parser.parse_args()
    run_stage(lambda: work(args), f"train@{args.variant}")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    variant = params.variants.get(args.variant)
    if variant is None:
        raise InputError(
            f"variant {args.variant!r} is not in params.yaml: expected one of {', '.join(params.variants)}"
        )
    check_graph(args, variant)
    hardware.set_threads(params.train.threads)
    precision = choose_precision(params, variant)
    configuration = describe_configuration(params, args.variant)
    data = digest_data(args, variant)
    key = make_key(configuration | {"data": data, "precision": precision}, script=Path(__file__))
    with (
        tracking.track_training(
            variant=args.variant,
            stage=f"train@{args.variant}",
            params=params.model_dump(mode="json"),
            data=data,
            precision=precision,
            processor=hardware.describe_device(),
            resume_key=key,
        ) as run,
        open_state_folder(Path(os.environ.get("DVC_ROOT", ".")) / ".cvd" / "training", key) as state_folder,
    ):
        train_variant(args, params, precision, state_folder, run.log_epoch)
        run.log_files([args.history, args.training, args.timing, args.layers], "training")
        run.log_model(args.model)


def check_graph(args: argparse.Namespace, variant: Variant) -> None:
    """Compares what dvc.yaml's graph says of the variant with what params.yaml says.

    Raises:
        InputError: they do not fit together.
    """
    name = args.variant
    if find_input(args.reads) not in (variant.input, None):
        raise InputError(
            f"variants.{name}.input is {variant.input!r}, but dvc.yaml's graph gives {name} {args.reads}: "
            'change its "reads" too'
        )
    if variant.augment and args.section != "augment":
        raise InputError(
            f"variants.{name}.augment is true, but dvc.yaml's graph gives {name} the section {args.section!r}: "
            "set `section: augment` for it there"
        )


def train_variant(
    args: argparse.Namespace, params: Params, precision: str, state_folder: Path | None, on_epoch: "OnEpoch"
) -> None:
    """Reads the examples, trains, and writes the five outputs."""
    from cvd.training import train_model
    from cvd.training_outputs import OutputPaths, join_backbone, rebuild_plain, write_outputs

    variant = params.variants[args.variant]
    begin = time.perf_counter()
    train, validation = read_examples(args, params, variant)
    load_seconds = time.perf_counter() - begin
    images = f"{len(train)} training and {len(validation)} validation images from {args.reads} in {load_seconds:.1f} s"
    print(f"{args.variant}: {images}; {precision} on {hardware.describe_device()}", flush=True)
    training = train_model(
        choose_network(variant, train),
        train,
        validation,
        epochs=variant.epochs,
        batch_size=params.train.batch_size,
        optimizer=variant.optimizer,
        learning_rate=variant.learning_rate,
        keep=variant.keep,
        precision=precision,
        seed=params.seed,
        augment=choose_augmentation(params, variant),
        state_folder=state_folder,
        on_epoch=on_epoch,
        name=args.variant,
    )
    if variant.network == "backbone":
        model = join_backbone(args.backbone, training.model)
    else:
        model = rebuild_plain(training.model, dropout=variant.dropout)
    write_outputs(
        training,
        model,
        OutputPaths(args.model, args.history, args.timing, args.training, args.layers),
        variant=variant.model_dump(),
        title=args.variant,
        precision=precision,
        load_seconds=load_seconds,
        threads=params.train.threads,
    )


def choose_precision(params: Params, variant: Variant) -> str:
    """The precision to train in; a head on cached features is too small for `auto` to give up digits for speed."""
    if params.train.precision == "auto" and variant.input == "features":
        return "float32"
    return hardware.resolve_precision(params.train.precision)


def describe_configuration(params: Params, name: str) -> dict[str, Any]:
    """The parameters that a variant's result follows from."""
    variant = params.variants[name]
    sections = ["train", *(["backbone"] if variant.network == "backbone" else ["image"])]
    if variant.augment:
        sections.append("augment")
    chosen = {section: getattr(params, section).model_dump() for section in sections}
    return {"seed": params.seed, "variants": {name: variant.model_dump()}, **chosen}


def digest_data(args: argparse.Namespace, variant: Variant) -> dict[str, str]:
    """Digests of what is read, by name. The manifest holds those of the image files."""
    digests = {"manifest": digest_files([args.manifest])}
    if variant.input != "files":
        digests[variant.input] = digest_files([args.reads])
    if variant.network == "backbone":
        digests["backbone"] = digest_files([args.backbone])
    return digests


def read_examples(args: argparse.Namespace, params: Params, variant: Variant) -> tuple[Examples, Examples]:
    """The training and the validation split, each in memory if it fits into half of the share."""
    memory_bytes = int(params.train.memory_share * hardware.read_memory_bytes() / 2)
    if variant.input == "features":
        return read_features(args.reads, "train"), read_features(args.reads, "validation")
    if variant.input == "shards":
        read: Callable[..., Examples] = partial(read_shards, args.reads)
    else:
        read = partial(read_files, args.reads, read_manifest(args.manifest), size_px=params.image.size_px)
    return read("train", memory_bytes=memory_bytes), read("validation", memory_bytes=memory_bytes)


def choose_network(variant: Variant, train: Examples) -> "Callable[[str], keras.Model]":
    """What builds the network that is trained, of a dtype policy."""
    if variant.network == "backbone":
        from cvd.models.head import build_head

        return lambda dtype: build_head(n_features=train.shape[0], dropout=variant.dropout, dtype=dtype)
    from cvd.models.plain import build_plain

    return lambda dtype: build_plain(size_px=train.shape[0], dropout=variant.dropout, dtype=dtype, for_training=True)


def choose_augmentation(params: Params, variant: Variant) -> "Augment | None":
    """What augments the training images, if anything does."""
    if not variant.augment:
        return None
    from cvd.models.augmentation import augment_images

    settings = params.augment.model_dump()
    return lambda images, epoch, indices: augment_images(
        images, seed=params.seed, epoch=epoch, indices=indices, **settings
    )


if __name__ == "__main__":
    main()
