"""Heat maps: where each network finds its evidence for cat and for dog, and what ImageNet's classes see in photos."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.data.intake.photos import list_photos, read_photos
from cvd.runtime.errors import InputError
from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import numpy as np

    from cvd.runtime.params.loading import Params
    from cvd.vis.sheets.overlays import Row

CLASSES = (("cat", -1), ("dog", 1))  # in the order of their labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of the manifest's images")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder of VARIANT.keras")
    parser.add_argument("--backbone", type=Path, required=True, help="folder of the pretrained network")
    parser.add_argument("--photos", type=Path, required=True, help="a photo or a folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    run_stage(lambda: draw_gradcam(args), "gradcam")


def draw_gradcam(args: argparse.Namespace) -> None:
    """Draws what each network sees in images and photos.

    IMAGE.png has all variants, VARIANT/IMAGE.png one, VARIANT/IMAGE/LAYER_CLASS.png a single map beside its image and
    overlay, photos/PHOTO.png the backbone's ImageNet classes.
    """
    from cvd.data.images.manifest import choose_images, read_manifest
    from cvd.data.images.pixels import decode_image
    from cvd.runtime.files import replace_folder
    from cvd.runtime.params.loading import load_params
    from cvd.tracking import add_to_run
    from cvd.vis.sheets.overlays import limit_size

    params = load_params()
    start_tensorflow()
    photos = {name: limit_size(photo) for name, photo in read_own_photos(args.photos).items()}
    paths = choose_images(read_manifest(args.manifest), params.gradcam.images)
    images = {path: limit_size(decode_image(args.images / path)) for path in paths}
    with replace_folder(args.out) as folder:
        _draw_variants(images, args.models, folder, params)
        _draw_photos(photos or images, args.backbone, folder / "photos", params)
    for variant in params.gradcam.variants:
        files = sorted((args.out / variant).glob("*.png"))
        add_to_run(variant=variant, model_path=args.models / f"{variant}.keras", files=files, folder="gradcam")


def read_own_photos(path: Path) -> "dict[str, np.ndarray]":
    """The user's photos by name, upright RGB: the file itself, or the image files of a folder, which may have none.

    Raises:
        InputError: there is no such file or folder, or a photo cannot be read.
    """
    if not path.exists():
        raise InputError(f"gradcam.photos is {str(path)!r}: no such file or folder")
    photos = {}
    for photo in read_photos(list_photos(path) if path.is_dir() else [path]):
        if photo.pixels is None:
            raise InputError(f"gradcam.photos: {photo.path} cannot be used: {photo.fault}")
        name = photo.path.relative_to(path).as_posix() if path.is_dir() else photo.path.name
        photos[name] = photo.pixels
    return photos


def _draw_variants(images: "dict[str, np.ndarray]", models: Path, folder: Path, params: "Params") -> None:
    """Draws the test images' sheets and single maps."""
    from tqdm import tqdm

    from cvd.vis.explaining.methods import METHODS
    from cvd.vis.sheets.drawing import name_file, name_layer_file, write_png
    from cvd.vis.sheets.overlays import draw_comparison, draw_heat

    caption = f"{METHODS[params.gradcam.method].title}: where each network finds evidence for cat, and for dog"
    rows: dict[str, list[Row]] = {path: [] for path in images}
    for variant in tqdm(params.gradcam.variants, desc="explaining", unit="variant"):
        for path, row in zip(images, _explain_variant(variant, images, models, params), strict=True):
            rows[path].append(row)
            sheet = draw_comparison(images[path], [row], title=path, caption=caption)
            write_png(sheet, folder / variant / f"{name_file(path)}.png")
            for heat in row.heats:
                single = draw_heat(images[path], heat, title=path, caption=f"{variant}   ·   {row.lines[0]}")
                name = f"{name_layer_file(heat.layer)}_{heat.heading.split()[-1]}.png"
                write_png(single, folder / variant / name_file(path) / name)
    for path, image in images.items():
        write_png(draw_comparison(image, rows[path], title=path, caption=caption), folder / f"{name_file(path)}.png")
    print(f"{len(images)} images, {len(params.gradcam.variants)} variants")


def _explain_variant(variant: str, images: "dict[str, np.ndarray]", models: Path, params: "Params") -> "Iterator[Row]":
    """What a variant says of each image, with its heat maps: each layer's for cat, then for dog."""
    import numpy as np

    from cvd.data.images.pixels import resize_image
    from cvd.vis.explaining.geometry import align_maps
    from cvd.vis.explaining.graphs import input_side, load_classifier, predict_probabilities
    from cvd.vis.explaining.layers import name_depths
    from cvd.vis.explaining.methods import METHODS, choose_layers, make_explainer
    from cvd.vis.sheets.overlays import Heat, Row

    model = load_classifier(models / f"{variant}.keras")
    method = params.gradcam.method
    layers = choose_layers(model, params.gradcam.layers, method=method)
    side = input_side(model)
    pictures = np.stack([resize_image(image, side) for image in images.values()])
    probabilities = predict_probabilities(model, pictures)[:, 0]
    found = make_explainer(model, layers, method=method)(pictures, [sign for _, sign in CLASSES])
    maps = [{layer: align_maps(model, layer, each[layer]) for layer in layers} for each in found]
    depths = name_depths(len(layers))
    for index, probability in enumerate(probabilities):
        heats = [
            Heat(f"{depth} {name}".strip(), layer, each[layer][index], METHODS[method].unit)
            for depth, layer in zip(depths, layers, strict=True)
            for (name, _), each in zip(CLASSES, maps, strict=True)
        ]
        yield Row(variant, [f"P(dog) {probability:.3f}", f"says {'dog' if probability > 0.5 else 'cat'}"], heats)


def _draw_photos(photos: "dict[str, np.ndarray]", backbone: Path, folder: Path, params: "Params") -> None:
    """Draws the backbone's most probable ImageNet classes, one sheet per photo; none where its head is not kept."""
    import numpy as np
    from tqdm import tqdm

    from cvd.data.images.pixels import resize_image
    from cvd.models.networks.backbone import describe_backbone, load_backbone
    from cvd.models.networks.imagenet import class_names
    from cvd.vis.explaining.geometry import align_maps
    from cvd.vis.explaining.methods import METHODS, choose_layers, make_top_explainer
    from cvd.vis.sheets.drawing import name_layer_file, write_png
    from cvd.vis.sheets.overlays import Heat, draw_photos

    folder.mkdir()
    description = describe_backbone(backbone)
    if not description.has_classes:
        print(f"{description.name} from {description.weights} has no ImageNet classes: no photos are explained")
        return
    model, names = load_backbone(backbone), class_names()
    method = METHODS[params.gradcam.method]
    layer = choose_layers(model, None, method=params.gradcam.method)[-1]
    explain = make_top_explainer(model, layer=layer, top=params.gradcam.top, method=params.gradcam.method)
    for name, photo in tqdm(photos.items(), desc="explaining photos", unit="photo"):
        classes, probabilities, maps = explain(resize_image(photo, description.size_px)[np.newaxis])
        heats = [
            Heat(f"{names[index]} {probability:.0%}", layer, heat, method.unit)
            for index, probability, heat in zip(
                classes[0], probabilities[0], align_maps(model, layer, maps[0]), strict=True
            )
        ]
        title = f"What {description.name} sees: its top {len(heats)} of ImageNet's 1,000 classes"
        sheet = draw_photos([(name, photo, heats)], title=title, caption=method.describe(layer))
        write_png(sheet, folder / f"{name_layer_file(name)}.png")  # a.jpg and a.png may both be there
    print(f"{len(photos)} photos, top {params.gradcam.top} classes of {description.name}")


if __name__ == "__main__":
    main()
