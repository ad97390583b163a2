"""Features: images -> the frozen backbone's output, once for every image."""

import argparse
import time
from pathlib import Path

from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the manifest's images")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, required=True, help="folder of backbone.keras")
    parser.add_argument("--features", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    run_stage(lambda: cache_features(args.images, args.manifest, args.backbone, args.features), "features")


def cache_features(images: Path, manifest_path: Path, backbone: Path, features: Path) -> None:
    """Writes the features of all splits."""
    from cvd.runtime.params.loading import load_params

    threads = load_params().train.threads
    start_tensorflow()

    import numpy as np
    from tqdm import tqdm

    from cvd.data.examples.reading import read_files
    from cvd.data.images.manifest import SPLITS, read_manifest
    from cvd.machine.threads import set_threads
    from cvd.models.networks.backbone import describe_backbone, load_backbone
    from cvd.models.networks.features import compute_features, make_extractor, write_index
    from cvd.runtime.files import replace_folder

    set_threads(threads)
    manifest = read_manifest(manifest_path)
    description = describe_backbone(backbone)
    extract = make_extractor(load_backbone(backbone))
    # No memory for the images: each is wanted once.
    splits = {
        split: read_files(images, manifest, split, size_px=description.size_px, memory_bytes=0) for split in SPLITS
    }
    n_images = sum(len(examples) for examples in splits.values())
    start = time.perf_counter()
    with replace_folder(features) as folder, tqdm(total=n_images, desc="features", unit="image") as bar:
        for split, examples in splits.items():
            computed = compute_features(
                extract, examples.fetch, n_images=len(examples), threads=threads, progress=bar.update
            )
            np.save(folder / f"{split}.npy", computed)
        write_index(
            folder,
            backbone={"name": description.name, "size_px": description.size_px, "sha256": description.sha256},
            paths={split: examples.paths for split, examples in splits.items()},
            labels={split: examples.labels.tolist() for split, examples in splits.items()},
        )
    seconds = time.perf_counter() - start
    print(f"{n_images:,} images, {description.n_features:,} features each, {n_images / seconds:.0f} images/s")


if __name__ == "__main__":
    main()
