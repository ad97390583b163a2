"""Heat maps: where each network finds its evidence for cat and for dog, and what ImageNet's classes see in photos."""

import argparse

import numpy as np
from tqdm import tqdm

from cvd.data.images.manifest import choose_images, read_manifest
from cvd.data.images.pixels import decode_image, resize_image
from cvd.data.intake.photos import read_own_photos
from cvd.runtime.files import replace_folder
from cvd.runtime.params.graph import choose_networks
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.vis.sheets.overlays import limit_size, write_photos, write_sheets


def main() -> None:
    args = read_arguments(__doc__, paths=("images", "manifest", "models", "backbone", "photos", "out"))
    run_stage(lambda: work(args), "gradcam")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    settings = params.gradcam
    variants = choose_networks(params, settings.variants, args.models)
    start_tensorflow()

    from cvd.models.networks.backbone import class_names, describe_backbone, load_backbone
    from cvd.models.networks.saving import load_network
    from cvd.vis.explaining.views import TopViewer, Viewer

    photos = {name: limit_size(photo) for name, photo in read_own_photos(args.photos).items()}
    paths = choose_images(read_manifest(args.manifest), settings.images)
    images = {path: limit_size(decode_image(args.images / path)) for path in paths}
    photos = photos or images
    views = {}
    for variant in tqdm(variants, desc="explaining", unit="variant"):
        model = load_network(args.models / f"{variant}.keras")
        viewer = Viewer(variant, model, settings.layers, method=settings.method)
        views[variant] = viewer.view(np.stack([resize_image(image, viewer.size_px) for image in images.values()]))
    backbone = describe_backbone(args.backbone)
    with replace_folder(args.out) as folder:
        write_sheets(folder, images, views, caption=viewer.caption)
        print(f"{len(images)} images, {len(variants)} variants")
        (folder / "photos").mkdir()
        if backbone.has_classes:
            top = TopViewer(load_backbone(args.backbone), class_names(), top=settings.top, method=settings.method)
            bar = tqdm(photos.values(), desc="explaining photos", unit="photo")
            heats = (top.view(resize_image(photo, backbone.size_px)[np.newaxis]) for photo in bar)
            write_photos(folder / "photos", photos, heats, network=backbone.name, caption=top.caption)
            print(f"{len(photos)} photos, top {settings.top} classes of {backbone.name}")
        else:
            print(f"{backbone.name} from {backbone.weights} has no ImageNet classes: no photos are explained")


if __name__ == "__main__":
    main()
