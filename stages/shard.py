"""Shard: images -> TFRecords with an index, the same bytes every time."""

from argparse import Namespace
from functools import partial

from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import SPLITS


def main() -> None:
    args = read_arguments(__doc__, paths=["images", "manifest", "shards"])
    run_stage(lambda: shard(args), "shard")


def shard(args: Namespace) -> None:
    params = load_params()
    start_tensorflow()

    from tqdm import tqdm

    from cvd.data.examples.shard_writer import write_shards
    from cvd.data.images.manifest import read_manifest

    manifest = read_manifest(args.manifest)
    n_images = int(manifest["split"].isin(SPLITS).sum())
    with replace_folder(args.shards) as folder:
        index = write_shards(
            args.images,
            manifest,
            folder,
            size_px=params.image.size_px,
            encoding=params.shard.encoding,
            size_mb=params.shard.size_mb,
            progress=partial(tqdm, desc="sharding", total=n_images, unit="image", disable=None),
        )
    for split, entry in index.items():
        size = sum(part["bytes"] for part in entry["shards"]) / 1e6
        print(f"{split}: {entry['n']:,} images, {len(entry['shards'])} shards, {size:,.1f} MB")


if __name__ == "__main__":
    main()
