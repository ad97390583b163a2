"""Features: images -> the frozen backbone's output, once for every image."""

import time
from argparse import Namespace

from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import SPLITS


def main() -> None:
    args = read_arguments(__doc__, paths=["images", "manifest", "backbone", "features"])
    run_stage(lambda: features(args), "features")


def features(args: Namespace) -> None:
    threads = load_params().train.threads
    start_tensorflow()

    from tqdm import tqdm

    from cvd.data.images.manifest import read_manifest
    from cvd.machine.threads import set_threads
    from cvd.models.networks.features import cache_features

    set_threads(threads)
    manifest = read_manifest(args.manifest)
    n_images = int(manifest["split"].isin(SPLITS).sum())
    start = time.perf_counter()
    with tqdm(total=n_images, desc="features", unit="image", disable=None) as bar:
        backbone = cache_features(
            args.images, manifest, args.backbone, args.features, threads=threads, progress=bar.update
        )
    rate = n_images / (time.perf_counter() - start)
    print(f"{n_images:,} images, {backbone.n_features:,} features each, {rate:.0f} images/s")


if __name__ == "__main__":
    main()
