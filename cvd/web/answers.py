"""What a network makes of a photo: its probability, and where it finds evidence, as pictures for a page."""

import base64
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from scipy.special import expit

from cvd.data.images.manifest import LABELS
from cvd.data.images.pixels import encode_jpeg, resize_image
from cvd.vis.explaining.geometry import align_maps
from cvd.vis.explaining.gradcam import Evidence, make_differentiator
from cvd.vis.explaining.layers import choose_grad_cam_layers, name_depths
from cvd.vis.explaining.weighing import combine_grad_cam
from cvd.vis.sheets.drawing import fit_picture
from cvd.vis.sheets.overlays import overlay_heat

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
    probability: float  # of dog
    views: list[View]


def make_asker(variant: str, model: keras.Model) -> Callable[[np.ndarray], Answer]:
    """What asks a network about a photo: probability, and Grad-CAM of an early and the last convolution.

    As in `cvd explain`, cat and dog of a layer share their scale; layers and networks do not. The first call is slow.

    Args:
        variant: the network's name.
        model: maps images (n, s, s, 3), pixels 0..255, to logits (n, 1); positive means dog.

    Returns:
        A function of a photo, (h, w, 3) uint8, of any size.

    Raises:
        InputError: the model has no convolution.
    """
    found = choose_grad_cam_layers(model, None)
    layers = list(dict.fromkeys([found[0], found[-1]]))
    differentiate, side_px = make_differentiator(model, layers), model.input_shape[1]

    def weigh(evidence: Evidence, layer: str) -> list[np.ndarray]:
        maps = (combine_grad_cam(evidence.activations, sign * evidence.gradients) for sign in (-1, 1))
        return [align_maps(model, layer, each)[0] for each in maps]

    def ask(photo: np.ndarray) -> Answer:
        logits, evidence = differentiate(resize_image(photo, side_px)[np.newaxis], 0)
        logit = float(logits[0, 0])
        small = fit_picture(photo, VIEW_PX)
        depths = name_depths(len(layers))
        views = [
            view
            for layer, depth in zip(layers, depths, strict=True)
            for view in _draw_views(small, weigh(evidence[layer], layer), layer, depth or "last")
        ]
        return Answer(variant, LABELS[int(logit > 0)], float(expit(logit)), views)

    return ask


def _draw_views(photo: np.ndarray, maps: list[np.ndarray], layer: str, depth: str) -> list[View]:
    """A layer's two maps on a photo."""
    hottest = float(max(each.max() for each in maps))
    return [
        View(
            label,
            depth,
            layer,
            float(heat.max()),
            describe_place(heat),
            encode_picture(overlay_heat(photo, heat, largest=hottest)),
        )
        for label, heat in zip(LABELS, maps, strict=True)
    ]


def describe_place(heat: np.ndarray) -> str:
    """Where a map, (h, w), is largest: at the upper left, at the top, in the middle and so on."""
    place = np.unravel_index(int(np.argmax(heat)), heat.shape)
    row, column = (
        names[min(int(3 * (at + 0.5) / n), 2)]
        for names, at, n in zip((_ROWS, _COLUMNS), place, heat.shape, strict=True)
    )
    if row and column:
        return f"at the {row} {column}"
    return _MIDDLES.get(row or column, "in the middle")


def encode_picture(pixels: np.ndarray) -> Picture:
    """(h, w, 3) uint8 as a JPEG inside an address."""
    code = base64.b64encode(encode_jpeg(pixels, quality=85)).decode()
    return Picture(f"data:image/jpeg;base64,{code}", pixels.shape[1], pixels.shape[0])


def encode_photo(photo: np.ndarray) -> Picture:
    """A photo, (h, w, 3) uint8, no larger than a page shows it."""
    return encode_picture(fit_picture(photo, PHOTO_PX) if max(photo.shape[:2]) > PHOTO_PX else photo)


def encode_scale() -> Picture:
    """The colours of heat, from none to the most, as they look on a mid-grey photo."""
    ramp = np.tile(np.linspace(0, 1, 240, dtype=np.float32), (12, 1))
    return encode_picture(overlay_heat(np.full((12, 240, 3), 150, np.uint8), ramp))
