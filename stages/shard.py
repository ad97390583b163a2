"""Shard: images -> TFRecords with an index, the same bytes every time."""

import argparse
from functools import partial
from pathlib import Path

from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the manifest's images")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--shards", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    run_stage(lambda: shard_images(args.images, args.manifest, args.shards), "shard")


def shard_images(images: Path, manifest_path: Path, shards: Path) -> None:
    """Writes the shards of all splits."""
    from tqdm import tqdm

    from cvd.data.examples.shard_writer import write_shards
    from cvd.data.images.manifest import SPLITS, read_manifest
    from cvd.runtime.files import replace_folder
    from cvd.runtime.params.loading import load_params

    params = load_params()
    start_tensorflow()
    manifest = read_manifest(manifest_path)
    n = int(manifest["split"].isin(SPLITS).sum())
    with replace_folder(shards) as folder:
        index = write_shards(
            images,
            manifest,
            folder,
            size_px=params.image.size_px,
            encoding=params.shard.encoding,
            size_mb=params.shard.size_mb,
            progress=partial(tqdm, desc="sharding", total=n, unit="image"),
        )
    for split, entry in index.items():
        size = sum(shard["bytes"] for shard in entry["shards"]) / 1e6
        print(f"{split}: {entry['n']:,} images, {len(entry['shards'])} shards, {size:,.1f} MB")


if __name__ == "__main__":
    main()
