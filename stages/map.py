"""Map: the test images as points on a plane, those near one another that the backbone finds alike."""

import argparse

import numpy as np
import pandas as pd

from cvd.data.examples.reading import read_features
from cvd.data.images.manifest import choose_images, read_manifest
from cvd.runtime.files import replace_file
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.vis.mapping.embedding import MOST_POINTS, embed_features


def main() -> None:
    args = read_arguments(__doc__, paths=("features", "manifest", "points"))
    run_stage(lambda: work(args), "map")


def work(args: argparse.Namespace) -> None:
    examples = read_features(args.features, "test")
    chosen = set(choose_images(read_manifest(args.manifest), MOST_POINTS))
    indices = np.array([index for index, path in enumerate(examples.paths) if path in chosen])
    points = embed_features(examples.fetch(indices), seed=load_params().seed)
    table = pd.DataFrame(points, columns=["x", "y"])
    table.insert(0, "path", [examples.paths[index] for index in indices])
    with replace_file(args.points) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    print(f"{len(table):,} of {len(examples):,} test images laid out by {examples.shape[0]:,} features")


if __name__ == "__main__":
    main()
