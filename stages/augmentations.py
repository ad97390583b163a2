"""Augmentations: the same image several times, as training with `augment: true` would see it, epoch after epoch."""

import argparse

import numpy as np
from tqdm import tqdm

from cvd.data.augmentation.draws import Augmentation
from cvd.data.augmentation.samples import augment_sample
from cvd.data.examples.batches import find_next, order_examples
from cvd.data.images.manifest import choose_images, read_manifest, select_split
from cvd.data.images.pixels import load_image
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.vocabulary import name_classes
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
    classes = name_classes(manifest["path"], manifest["label"])
    paths = choose_images(manifest, params.augmentations.images)

    def preview(path: str) -> Preview:
        rows = select_split(manifest, manifest.loc[manifest["path"] == path, "split"].item())
        index = rows["path"].tolist().index(path)

        def sample(epoch: int) -> tuple[np.ndarray, list[str]]:
            # A training image's copies are those of the first epochs, as a training on all of them sees them.
            order = order_examples(len(rows), seed=params.seed, epoch=epoch)
            pair = rows.iloc[[index, find_next(order, index, batch_size=params.train.batch_size)]]
            images = np.stack([load_image(args.images / name, params.image.size_px) for name in pair["path"]])
            indices, labels = pair.index.to_numpy(), pair["label"].to_numpy()
            words = {"partner": pair["path"].iloc[1], "classes": classes}
            return augment_sample(images, labels, augmentation, epoch=epoch, indices=indices, **words)

        copies, captions = zip(*(sample(epoch) for epoch in range(n_samples)), strict=True)
        return Preview(path, load_image(args.images / path, params.image.size_px), list(copies), list(captions))

    with replace_folder(args.out) as folder:
        for start in tqdm(range(0, len(paths), ROWS), desc="drawing", unit="page", disable=None):
            page = f"-{start // ROWS + 1}" if start else ""
            figure = draw_previews([preview(path) for path in paths[start : start + ROWS]])
            save_figure(figure, folder / f"augmentations{page}.png")
    print(f"{len(paths)} images, {n_samples} augmented copies of each: {args.out}/augmentations.png")


if __name__ == "__main__":
    main()
