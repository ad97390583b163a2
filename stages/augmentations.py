"""Augmentations: the same image several times, as training with `augment: true` would see it, epoch after epoch."""

import argparse

from tqdm import tqdm

from cvd.data.examples.augmentation import Augmentation, describe_affine, sample_affine, warp_image
from cvd.data.images.manifest import choose_images, read_manifest, select_split
from cvd.data.images.pixels import load_image
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.vis.charts.previews import ROWS, Preview, draw_previews
from cvd.vis.charts.themes import save_figure


def main() -> None:
    args = read_arguments(__doc__, paths=("images", "manifest", "out"))
    run_stage(lambda: work(args), "augmentations")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    augmentation = Augmentation(seed=params.seed, **params.augment.model_dump())
    n_samples = params.augmentations.n_samples
    manifest = read_manifest(args.manifest)
    paths = choose_images(manifest, params.augmentations.images)

    def preview(path: str) -> Preview:
        image = load_image(args.images / path, params.image.size_px)
        height, width = image.shape[:2]
        split = manifest.loc[manifest["path"] == path, "split"].item()
        index = select_split(manifest, split)["path"].tolist().index(path)
        # A training image's copies are those of the first epochs, as training sees them.
        affines = [
            sample_affine(augmentation, epoch=epoch, index=index, height=height, width=width)
            for epoch in range(n_samples)
        ]
        copies = [warp_image(image, affine.matrix) for affine in affines]
        return Preview(path, image, copies, [describe_affine(affine) for affine in affines])

    with replace_folder(args.out) as folder:
        for start in tqdm(range(0, len(paths), ROWS), desc="drawing", unit="page"):
            page = f"-{start // ROWS + 1}" if start else ""
            figure = draw_previews([preview(path) for path in paths[start : start + ROWS]])
            save_figure(figure, folder / f"augmentations{page}.png")
    print(f"{len(paths)} images, {n_samples} augmented copies of each: {args.out}/augmentations.png")


if __name__ == "__main__":
    main()
