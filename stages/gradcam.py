"""Heat maps: where each network finds its evidence for cat and for dog, and what ImageNet's classes see in photos."""

from argparse import Namespace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cvd.data.images.manifest import choose_images, read_manifest
from cvd.data.images.pixels import decode_image, resize_image
from cvd.data.intake.photos import read_own_photos
from cvd.runtime.files import replace_folder
from cvd.runtime.params.graph import choose_networks
from cvd.runtime.params.loading import load_params
from cvd.runtime.params.sections import GradCam
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.tracking import add_to_run
from cvd.vis.sheets.drawing import name_layer_file, write_png
from cvd.vis.sheets.overlays import draw_photo, limit_size, write_sheets


def main() -> None:
    args = read_arguments(__doc__, paths=["images", "manifest", "models", "backbone", "photos", "out"])
    run_stage(lambda: draw_gradcam(args), "gradcam")


def draw_gradcam(args: Namespace) -> None:
    params = load_params()
    settings = params.gradcam
    variants = choose_networks(params, settings.variants, args.models)
    start_tensorflow()

    from cvd.models.networks.saving import load_network
    from cvd.vis.explaining.views import Viewer

    photos = {name: limit_size(photo) for name, photo in read_own_photos(args.photos).items()}
    paths = choose_images(read_manifest(args.manifest), settings.images)
    images = {path: limit_size(decode_image(args.images / path)) for path in paths}
    views = {}
    for variant in tqdm(variants, desc="explaining", unit="variant"):
        model = load_network(args.models / f"{variant}.keras")
        viewer = Viewer(variant, model, settings.layers, method=settings.method)
        views[variant] = viewer.view(np.stack([resize_image(image, viewer.size_px) for image in images.values()]))
    with replace_folder(args.out) as folder:
        write_sheets(folder, images, views, caption=viewer.caption)
        print(f"{len(images)} images, {len(variants)} variants")
        _draw_photos(photos or images, args.backbone, folder / "photos", settings)
    for variant in variants:
        files = sorted((args.out / variant).glob("*.png"))
        add_to_run(variant=variant, model_path=args.models / f"{variant}.keras", files=files, folder="gradcam")


def _draw_photos(photos: dict[str, np.ndarray], backbone: Path, folder: Path, settings: GradCam) -> None:
    """Draw the backbone's most probable ImageNet classes, one sheet per photo; none where its head is not kept."""
    from cvd.models.networks.backbone import class_names, describe_backbone, load_backbone
    from cvd.vis.explaining.methods import METHODS
    from cvd.vis.explaining.views import make_top_viewer

    folder.mkdir()
    description = describe_backbone(backbone)
    if not description.has_classes:
        print(f"{description.name} from {description.weights} has no ImageNet classes: no photos are explained")
        return
    view = make_top_viewer(load_backbone(backbone), class_names(), top=settings.top, method=settings.method)
    for name, photo in tqdm(photos.items(), desc="explaining photos", unit="photo"):
        heats = view(resize_image(photo, description.size_px)[np.newaxis])
        title = f"What {description.name} sees: its top {len(heats)} of ImageNet's 1,000 classes"
        caption = METHODS[settings.method].describe(heats[0].layer)
        sheet = draw_photo(name, photo, heats, title=title, caption=caption)
        write_png(sheet, folder / f"{name_layer_file(name)}.png")  # a.jpg and a.png may both be there
    print(f"{len(photos)} photos, top {settings.top} classes of {description.name}")


if __name__ == "__main__":
    main()
