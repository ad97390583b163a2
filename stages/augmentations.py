"""Augmentations: the same image several times, as training with `augment: true` would see it, epoch after epoch."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.runtime.stage import run_stage

if TYPE_CHECKING:
    import pandas as pd

    from cvd.runtime.params.loading import Params
    from cvd.vis.charts.previews import Preview

ROWS = 6  # images on a page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the manifest's images")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    run_stage(lambda: preview_augmentations(args.images, args.manifest, args.out), "augmentations")


def preview_augmentations(images: Path, manifest_path: Path, out: Path) -> None:
    """Draws `augmentations.png`, and `augmentations-2.png` and so on where there are more images than fit on a page."""
    from tqdm import tqdm

    from cvd.data.images.manifest import choose_images, read_manifest
    from cvd.runtime.files import replace_folder
    from cvd.runtime.params.loading import load_params
    from cvd.vis.charts.previews import draw_previews
    from cvd.vis.charts.themes import save_figure

    params = load_params()
    manifest = read_manifest(manifest_path)
    chosen = choose_images(manifest, params.augmentations.images)
    with replace_folder(out) as folder:
        for start in tqdm(range(0, len(chosen), ROWS), desc="drawing", unit="page"):
            previews = [_make_preview(path, images, manifest, params) for path in chosen[start : start + ROWS]]
            page = f"-{start // ROWS + 1}" if start else ""
            save_figure(draw_previews(previews), folder / f"augmentations{page}.png")
    print(f"{len(chosen)} images, {params.augmentations.n_samples} augmented copies of each: {out}/augmentations.png")


def _make_preview(path: str, images: Path, manifest: "pd.DataFrame", params: "Params") -> "Preview":
    """An image and its copies. A training image's are those of the first epochs, just as training sees them."""
    from cvd.data.examples.augmentation import describe_affine, sample_affine, warp_image
    from cvd.data.images.manifest import select_split
    from cvd.data.images.pixels import load_image
    from cvd.vis.charts.previews import Preview

    image = load_image(images / path, params.image.size_px)
    split = manifest.loc[manifest["path"] == path, "split"].item()
    index = select_split(manifest, split)["path"].tolist().index(path)
    height, width = image.shape[:2]
    affines = [
        sample_affine(
            seed=params.seed, epoch=epoch, index=index, height=height, width=width, **params.augment.model_dump()
        )
        for epoch in range(params.augmentations.n_samples)
    ]
    copies = [warp_image(image, affine.matrix) for affine in affines]
    return Preview(path, image, copies, [describe_affine(affine) for affine in affines])


if __name__ == "__main__":
    main()
