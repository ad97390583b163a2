"""A sheet of the images whose answer turned between two revisions, with both networks' heat maps."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.revisions.contents import Revision
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import name_classes

if TYPE_CHECKING:
    from cvd.vis.sheets.galleries import Exhibit

IMAGES = "data/images"
MOST = 12  # images each way


def draw_flips(pair: dict[str, Any], before: Revision, after: Revision, path: Path, *, method: str) -> None:
    """Draw for each changed variant the images that only one revision's network got right, the surest turns first.

    `pair` is of `compare_pair`. Say on stderr where the sheet is, or that there is nothing to draw.

    Raises:
        InputError: a model or an image is neither in DVC's cache nor in the working folder.
    """
    sides = {"before": before, "after": after}
    turned = [
        (row["variant"], when, row[key])
        for row in pair["changed"]
        for when in sides
        if row.get(key := f"only_{when}_right")
    ]
    if not turned:
        print(f"{path} is not written: no answer turned", file=sys.stderr)
        return
    start_tensorflow()
    from cvd.commands.evidence.pairs import read_output
    from cvd.vis.explaining.methods import METHODS, resolve_method
    from cvd.vis.sheets.drawing import write_png
    from cvd.vis.sheets.galleries import draw_disagreements

    heat = METHODS[resolve_method(method)].describe("the last convolution")
    sheets, table = [], read_output(before, turned[0][0])
    labels = name_classes(table["path"], table["label"])
    for variant in dict.fromkeys(name for name, _, _ in turned):
        chosen = [(when, paths) for name, when, paths in turned if name == variant]
        shown = list(dict.fromkeys(image for _, paths in chosen for image in paths[:MOST]))
        exhibits = [_exhibit(revision, variant, shown, method, labels) for revision in sides.values()]
        for when, paths in chosen:
            rows = [[side[image] for side in exhibits] for image in paths[:MOST]]
            title = f"{variant}: only {sides[when].name} is right, {len(rows)} of {len(paths)} images"
            names = [revision.name for revision in sides.values()]
            sheets.append(draw_disagreements(rows, variants=names, heat=heat, labels=labels, title=title))
    with replace_file(path) as partial:
        write_png(np.vstack(sheets), partial)
    print(f"{path}: {len(sheets)} lists of images whose answer turned", file=sys.stderr)


def _exhibit(
    revision: Revision, variant: str, paths: Sequence[str], method: str, labels: Sequence[str]
) -> "dict[str, Exhibit]":
    """What a revision's network says of images, by path, with the heat for it."""
    from cvd.commands.evidence.pairs import read_output
    from cvd.data.images.pixels import decode_image, resize_image
    from cvd.models.networks.mirroring import remove_mirror
    from cvd.models.networks.saving import load_network
    from cvd.vis.explaining.views import Viewer
    from cvd.vis.sheets.galleries import make_exhibit
    from cvd.vis.sheets.overlays import limit_size

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / f"{variant}.keras"  # Keras reads no file of another name
        shutil.copyfile(_need(revision.find_output(f"models/{variant}.keras"), f"models/{variant}.keras"), model)
        network = remove_mirror(load_network(model))
        viewer = Viewer(variant, network, method=method, only_last=True, labels=labels)
    images = {
        path: limit_size(decode_image(_need(revision.find_member(IMAGES, path), f"{IMAGES}/{path}"))) for path in paths
    }
    pictures = np.stack([resize_image(image, viewer.size_px) for image in images.values()])
    maps = viewer.explain_named(pictures, paths)
    rows = {row.path: row for row in read_output(revision, variant).itertuples()}
    return {path: make_exhibit(rows[path], image, maps.view(path)) for path, image in images.items()}


def _need(place: Path | None, path: str) -> Path:
    if place is None:
        raise InputError(f"{path} is neither in the working folder nor in DVC's cache: `dvc fetch -A {path}` brings it")
    return place
