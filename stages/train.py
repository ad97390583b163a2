"""Train: one variant's network on its examples, kept with its history, its times and a table of its layers."""

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cvd import tracking
from cvd.data.examples.reading import Examples, find_input, read_features, read_files, read_shards
from cvd.data.images.manifest import read_manifest
from cvd.machine import hardware
from cvd.machine.threads import set_threads
from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.params.sections import BackboneVariant, Variant
from cvd.runtime.startup import start_tensorflow
from cvd.training.distributed.worker import join_training, run_training
from cvd.training.state import digest_files, make_key, open_state_folder

if TYPE_CHECKING:  # TensorFlow is loaded once the stage has quietened it
    import keras

    from cvd.data.examples.pipeline import Augment
    from cvd.training.distributed.strategy import Distribution


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="a block of params.yaml's `variants`")
    for name in ("reads", "network", "manifest", "model", "history", "timing", "training", "layers"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("pixels", "section"):
        parser.add_argument(f"--{name}", required=True, help="a section of params.yaml that the graph gives it")
    args = parser.parse_args()
    run_training(lambda: work(args), f"train@{args.variant}")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    start_tensorflow()
    variant = params.variants.get(args.variant)
    if variant is None:
        raise InputError(
            f"variant {args.variant!r} is not in params.yaml: expected one of {', '.join(params.variants)}"
        )
    check_graph(args, variant)
    set_threads(params.train.threads)
    distribution = join_training(params.train.strategy)  # before TensorFlow does anything else
    precision = choose_precision(params, variant)
    configuration = describe_configuration(params, args.variant)
    if distribution:
        common = {"data": digest_files([args.manifest, *args.reads.glob("index.json")]), "precision": precision}
        distribution.require_alike(make_key(configuration | common, script=Path(__file__)))
        if not distribution.is_chief:
            train_variant(args, params, precision, distribution)
            return
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
        train_variant(args, params, precision, distribution, state_folder=state_folder, on_epoch=run.log_epoch)
        run.log_files([args.history, args.training, args.timing, args.layers], "training")
        run.log_model(args.model)


def check_graph(args: argparse.Namespace, variant: Variant) -> None:
    """Compares what dvc.yaml's graph, or more.yaml's, says of the variant with what params.yaml says.

    Raises:
        InputError: they do not fit together.
    """

    def refuse(key: str, given: object, advice: str) -> NoReturn:
        value = json.dumps(getattr(variant, key)).replace('"', "'")
        raise InputError(
            f"variants.{args.variant}.{key} is {value}, but the graph in dvc.yaml or more.yaml gives {args.variant} "
            f"{given}: {advice} there"
        )

    if find_input(args.reads) not in (variant.input, None):
        raw = {"files": "data/images"}.get(variant.input, f"data/{variant.input}")
        refuse("input", args.reads, f"set `reads: {raw}`")
    if isinstance(variant, BackboneVariant):
        if args.network.suffix == ".py":
            refuse("network", args.network, "set `network: models/backbone`")
        if args.network.suffix and not variant.pretrained:
            refuse("pretrained", args.network, "set `network: models/backbone`")
    elif args.network.name != f"{variant.network}.py":
        refuse("network", args.network, f"set `network: cvd/models/{variant.network}.py`")
    if args.pixels != (pixels := "backbone" if variant.network == "backbone" else "image"):
        refuse("network", f"the pixels of {args.pixels!r}", f"set `pixels: {pixels}`")
    if variant.augment and args.section != "augment":
        refuse("augment", f"the section {args.section!r}", "set `section: augment`")


def train_variant(
    args: argparse.Namespace, params: Params, precision: str, distribution: "Distribution | None", **books: Any
) -> None:
    """Reads the examples, trains, and writes the five outputs, unless that is another process' part."""
    from cvd.training import fitting, memory, outputs

    variant = params.variants[args.variant]
    begin = time.perf_counter()
    train, validation = read_examples(args, params, variant, distribution)
    if isinstance(variant, BackboneVariant):
        from cvd.training.transfer import plan_training

        settings = {name: getattr(variant, name) for name in ("pretrained", "unfreeze", "augment", "dropout")}
        settings |= {"seed": params.seed, "threads": params.train.threads}
        train, validation, build, finish = plan_training(args.network, train, validation, **settings)
    else:
        build, finish = choose_network(variant, train), choose_rebuilding(variant, train)
        at_once = min(params.train.batch_size, len(train))
        memory.require_memory(lambda: build(precision), at_once, variant.optimizer, distribution)
    load_seconds = time.perf_counter() - begin
    images = f"{len(train)} training and {len(validation)} validation images from {args.reads} in {load_seconds:.1f} s"
    print(f"{args.variant}: {images}; {precision} on {hardware.describe_device()}", flush=True)
    training = fitting.train_model(
        build,
        train,
        validation,
        **choose_settings(params, variant),
        precision=precision,
        name=args.variant,
        distribution=distribution,
        **books,
    )
    if not distribution or distribution.is_chief:
        outputs.write_outputs(
            training,
            finish(training.model),
            outputs.OutputPaths(args.model, args.history, args.timing, args.training, args.layers),
            variant=variant.model_dump(),
            title=args.variant,
            precision=precision,
            load_seconds=load_seconds,
            threads=params.train.threads,
        )


def choose_settings(params: Params, variant: Variant) -> dict[str, Any]:
    """How a variant is trained, as `train_model` takes it."""
    names = ("epochs", "optimizer", "learning_rate", "weight_decay", "schedule", "warmup_fraction", "l2")
    settings = {name: getattr(variant, name) for name in (*names, "label_smoothing", "patience", "keep")}
    augment = choose_augmentation(params, variant)
    return settings | {"batch_size": params.train.batch_size, "seed": params.seed, "augment": augment}


def choose_precision(params: Params, variant: Variant) -> str:
    """The precision to train in.

    A backbone's depthwise convolutions are no faster in half precision, so it runs in float32. A head on cached
    features is too small for `auto` to give up digits for speed.
    """
    if variant.network == "backbone" and (variant.input != "features" or params.train.precision == "auto"):
        return "float32"
    return hardware.resolve_precision(params.train.precision)


def describe_configuration(params: Params, name: str) -> dict[str, Any]:
    """The parameters that a variant's result follows from."""
    variant = params.variants[name]
    sections = ["train", "backbone" if variant.network == "backbone" else "image", *["augment"] * variant.augment]
    chosen = {section: getattr(params, section).model_dump() for section in sections}
    return {"seed": params.seed, "variants": {name: variant.model_dump()}, **chosen}


def digest_data(args: argparse.Namespace, variant: Variant) -> dict[str, str]:
    """Digests of what is read, by name. The manifest holds those of the image files."""
    digests = {"manifest": digest_files([args.manifest])}
    if variant.input != "files":
        digests[variant.input] = digest_files([args.reads])
    if variant.network == "backbone":
        digests["backbone"] = digest_files([args.network])
    return digests


def read_examples(
    args: argparse.Namespace, params: Params, variant: Variant, distribution: "Distribution | None"
) -> tuple[Examples, ...]:
    """The training and the validation split, each in memory if it fits into half of the share."""
    memory_bytes = int(params.train.memory_share * hardware.read_memory_bytes() / 2)
    if variant.input == "features":
        return read_features(args.reads, "train"), read_features(args.reads, "validation")
    if variant.input == "shards":
        read: Callable[..., Examples] = partial(read_shards, args.reads)
    else:
        size_px = (params.backbone if variant.network == "backbone" else params.image).size_px
        read = partial(read_files, args.reads, read_manifest(args.manifest), size_px=size_px)
    splits = [read(split, memory_bytes=0 if distribution else memory_bytes) for split in ("train", "validation")]
    return distribution.hold_own(*splits, memory_bytes=memory_bytes) if distribution else tuple(splits)


def choose_network(variant: Variant, train: Examples) -> "Callable[[str], keras.Model]":
    """What builds the network that is trained, of a dtype policy."""
    if variant.network == "backbone":
        from cvd.models.networks.head import build_head

        return lambda dtype: build_head(n_features=train.shape[0], dropout=variant.dropout, dtype=dtype)
    import tensorflow as tf

    build = partial(choose_builder(variant), size_px=train.shape[0])
    return lambda dtype: build(dtype=dtype, for_training=not tf.distribute.has_strategy())


def choose_rebuilding(variant: Variant, train: Examples) -> "Callable[[keras.Model], keras.Model]":
    """What makes of the trained network the one that is saved."""
    from cvd.training.outputs import rebuild_network

    build = choose_builder(variant)
    return lambda trained: rebuild_network(trained, lambda: build(size_px=train.shape[0]))


def choose_builder(variant: Variant) -> "Callable[..., keras.Model]":
    """The function that builds a network from scratch, but for the images' side."""
    settings = {name: getattr(variant, name) for name in ("width", "depth", "dropout")}
    if variant.network == "residual":
        from cvd.models.scratch.residual import build_residual

        return partial(build_residual, **settings)
    from cvd.models.scratch.plain import build_plain

    return partial(build_plain, **settings)


def choose_augmentation(params: Params, variant: Variant) -> "Augment | None":
    """What augments the training images, if anything does."""
    if not variant.augment:
        return None
    from cvd.data.examples.augmentation import augment_images

    settings = params.augment.model_dump() | {"seed": params.seed}
    return lambda images, epoch, indices: augment_images(images, epoch=epoch, indices=indices, **settings)


if __name__ == "__main__":
    main()
