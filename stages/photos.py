"""Photos: which of ImageNet's classes the pretrained backbone sees in photos of your own, and where."""

import argparse

import numpy as np
from tqdm import tqdm

from cvd.data.images.manifest import choose_images, read_manifest
from cvd.data.images.pixels import decode_image, resize_image
from cvd.data.intake.photos import read_own_photos
from cvd.runtime.files import replace_folder
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.vis.sheets.overlays import limit_size
from cvd.vis.sheets.photos import write_photos


def main() -> None:
    args = read_arguments(__doc__, paths=("photos", "images", "manifest", "backbone", "out"))
    run_stage(lambda: work(args), "photos")


def work(args: argparse.Namespace) -> None:
    settings = load_params().gradcam
    photos = {name: limit_size(photo) for name, photo in read_own_photos(args.photos).items()}
    if not photos:
        paths = choose_images(read_manifest(args.manifest), settings.images)
        photos = {path: limit_size(decode_image(args.images / path)) for path in paths}
    start_tensorflow()

    from cvd.models.networks.backbone import class_names, describe_backbone, load_backbone
    from cvd.vis.explaining.views import ClassViewer

    backbone = describe_backbone(args.backbone)
    with replace_folder(args.out) as folder:
        if not backbone.has_classes:
            print(f"{backbone.name} from {backbone.weights} has no ImageNet classes: no photos are explained")
            return
        viewer = ClassViewer(load_backbone(args.backbone), class_names(), method=settings.method)
        bar = tqdm(photos.values(), desc="explaining photos", unit="photo", disable=None)
        heats = (viewer.view(resize_image(photo, backbone.size_px)[np.newaxis], top=settings.top) for photo in bar)
        title = f"What {backbone.name} sees: its top {settings.top} of ImageNet's 1,000 classes"
        caption = f"{viewer.title}: what speaks for each class, and what tells the first two apart"
        write_photos(folder, photos, heats, title=title, caption=caption, note=viewer.note)
    print(f"{len(photos)} photos, top {settings.top} classes of {backbone.name}")


if __name__ == "__main__":
    main()
