"""What a network makes of a photo: its probability, and where it finds evidence, as pictures for a page."""

import base64
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from cvd.data.images.pixels import encode_jpeg, resize_image
from cvd.models.networks.mirroring import remove_mirror
from cvd.vis.explaining.layers import choose_grad_cam_layers
from cvd.vis.explaining.views import ClassViewer, Viewer
from cvd.vis.sheets.drawing import fit_picture
from cvd.vis.sheets.overlays import draw_ramp, find_hottest, overlay_heat

PHOTO_PX, VIEW_PX = 720, 400  # longer side of the photo and of a heat map; twice what a page shows, for sharp screens
_ROWS, _COLUMNS = ("upper", "", "lower"), ("left", "", "right")
_MIDDLES = {"upper": "at the top", "lower": "at the bottom", "left": "at the left", "right": "at the right"}


class Picture(NamedTuple):
    """A picture as a page holds it."""

    uri: str
    width: int
    height: int


class View(NamedTuple):
    """Where a layer finds evidence for a class."""

    label: str
    depth: str  # early or late
    layer: str
    largest: float  # of the map, in logits; 0: no evidence
    place: str  # of the largest, in words
    picture: Picture


class Answer(NamedTuple):
    """What a network says of a photo."""

    variant: str
    label: str
    probability: float  # of the second class
    views: list[View]


class Recognition(NamedTuple):
    """What a network of ImageNet's classes sees in a photo: a view for each of the most probable ones."""

    backbone: str
    classes: list[tuple[str, float]]  # name and probability
    views: list[View]


def make_asker(variant: str, model: keras.Model, labels: Sequence[str]) -> Callable[[np.ndarray], Answer]:
    """Make what asks a network about a photo, (h, w, 3) uint8: its probability, and heat maps of two convolutions.

    The model maps images (n, s, s, 3), pixels 0..255, to logits (n, 1). `labels` are the two classes; those of a
    layer share their scale; layers and networks do not. The first call is slow.

    Raises:
        InputError: the model has no convolution.
    """
    explained = remove_mirror(model)
    layers = choose_grad_cam_layers(explained, None)
    viewer = Viewer(variant, explained, [layers[0], layers[-1]], answering=model, labels=labels)

    def ask(photo: np.ndarray) -> Answer:
        (seen,) = viewer.view(resize_image(photo, viewer.size_px)[np.newaxis])
        small = fit_picture(photo, VIEW_PX)
        views = []
        for heat in seen.heats:
            hottest = find_hottest(seen.find_pair(heat))
            largest, place = float(heat.map.max()), describe_place(heat.map)
            picture = encode_picture(overlay_heat(small, heat.map, largest=hottest))
            views.append(View(heat.label, heat.depth or "last", heat.layer, largest, place, picture))
        return Answer(variant, seen.label, seen.probability, views)

    return ask


def make_recogniser(
    backbone: str, size_px: int, viewer: ClassViewer, *, top: int
) -> Callable[[np.ndarray], Recognition]:
    """Make what asks a backbone about a photo, (h, w, 3) uint8: its `top` classes, and where it sees each of them.

    `viewer` explains by one layer, of images of `size_px`. The first call is slow.
    """

    def recognise(photo: np.ndarray) -> Recognition:
        small, image, views = fit_picture(photo, VIEW_PX), resize_image(photo, size_px)[np.newaxis], []
        ranked = viewer.rank(image)[:top]
        for heat in viewer.explain(image, ranked, None):
            picture = encode_picture(overlay_heat(small, heat.map, largest=find_hottest([heat])))
            largest, place = float(heat.map.max()), describe_place(heat.map)
            views.append(View(heat.label, heat.depth or "last", heat.layer, largest, place, picture))
        return Recognition(backbone, [(viewer.names[number], share) for number, share in ranked], views)

    return recognise


def describe_place(heat: np.ndarray) -> str:
    """Say where a map, (h, w), is largest: at the upper left, at the top, in the middle and so on."""
    place = np.unravel_index(int(np.argmax(heat)), heat.shape)
    row, column = (
        names[min(int(3 * (at + 0.5) / n), 2)]
        for names, at, n in zip((_ROWS, _COLUMNS), place, heat.shape, strict=True)
    )
    if row and column:
        return f"at the {row} {column}"
    return _MIDDLES.get(row or column, "in the middle")


def encode_picture(pixels: np.ndarray) -> Picture:
    """Encode (h, w, 3) uint8 as a JPEG inside an address."""
    code = base64.b64encode(encode_jpeg(pixels, quality=85)).decode()
    return Picture(f"data:image/jpeg;base64,{code}", pixels.shape[1], pixels.shape[0])


def encode_photo(photo: np.ndarray) -> Picture:
    """Encode a photo, (h, w, 3) uint8, no larger than a page shows it."""
    return encode_picture(fit_picture(photo, PHOTO_PX) if max(photo.shape[:2]) > PHOTO_PX else photo)


def encode_scale() -> Picture:
    """Encode the colours of heat, from none to the most, as they look on a mid-grey photo."""
    return encode_picture(draw_ramp(240))
