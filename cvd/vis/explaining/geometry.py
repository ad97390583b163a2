"""Heat maps, and where their cells lie in the image: the middles of their receptive fields. No TensorFlow.

Stretching a map over the whole image is wrong where convolutions without padding lose a rim: by 14 px at the edge of
the plain network of 150 px. Where they pad, cells reach beyond the image, and their map covers the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from cvd.vis.explaining.layers import PIXELS, find_output

if TYPE_CHECKING:
    import keras


class Heat(NamedTuple):
    """A heat map of an image."""

    label: str  # the class that it explains
    layer: str
    map: np.ndarray  # (h', w'), >= 0
    unit: str = "logits"  # of the map
    depth: str = ""  # of the layer: early, middle, late
    total: float = 0.0  # sum over the layer's cells
    is_paired: bool = False  # of a difference: it shares its scale with the layer's other such map

    @property
    def heading(self) -> str:
        """Depth and class."""
        return f"{self.depth} {self.label}".strip()


class View(NamedTuple):
    """What a network says of an image, and where it finds evidence."""

    variant: str
    probability: float  # of the second class
    heats: Sequence[Heat]  # of each layer for both classes
    labels: Sequence[str]  # of the two classes
    method: str = ""  # by which the heats were made, as readers know it

    @property
    def label(self) -> str:
        """The class that the network names."""
        return self.labels[int(self.probability > 0.5)]

    @property
    def lines(self) -> list[str]:
        """What the network says, in words."""
        return [f"P({self.labels[1]}) {self.probability:.3f}", f"says {self.label}"]

    def find_pair(self, heat: Heat) -> list[Heat]:
        """Find the heats of the same layer, for both classes, which share their scale."""
        return [other for other in self.heats if other.layer == heat.layer]

    def is_contradicted(self, heat: Heat) -> bool:
        """Whether this heat is for what the network says, and its layer has more for the other class."""
        return heat.label == self.label and any(other.total > heat.total for other in self.find_pair(heat))


def upsample_map(heat: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarge a map to (height, width), float32, never negative: bilinear, whole map on whole image."""
    return cv2.resize(np.asarray(heat, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


class Axis(NamedTuple):
    """Cell i of an axis has its middle at offset + stride * i, in the image's pixels, whose first middle is 0."""

    offset: float
    stride: float


class Cells(NamedTuple):
    """Where a layer's cells lie in images of one size."""

    rows: Axis
    columns: Axis
    size: tuple[int, int]  # of the images: height and width, px


def align_maps(model: keras.Model, layer: str, maps: np.ndarray) -> np.ndarray:
    """Lay a layer's maps (n, h', w') on the model's input: `lay_maps` on `place_cells`."""
    return lay_maps(maps, place_cells(model, layer))


def place_cells(model: keras.Model, layer: str) -> Cells | None:
    """Find where a layer's cells lie; None for `pixels`, and where the model takes images of any size."""
    height, width = model.inputs[0].shape[1:3]
    if layer == PIXELS or height is None or width is None:
        return None
    return Cells(*locate_cells(model, layer), (height, width))


def lay_maps(maps: np.ndarray, cells: Cells | None) -> np.ndarray:
    """Lay maps (n, h', w') on images, each cell at its receptive field; beyond the last cells they fade.

    Returns:
        (n, h, w), float32; the maps as they are where `cells` is None.
    """
    if cells is None:
        return maps
    sizes = zip((cells.rows, cells.columns), maps.shape[1:], cells.size, strict=True)
    rows, columns = (_cut_axis(axis, n_cells, size_px) for axis, n_cells, size_px in sizes)
    # From a pixel (x, y) of the input to the cell (column, row) of the map: cell = (pixel - offset) / stride.
    matrix = np.array(
        [[1 / columns.stride, 0, -columns.offset / columns.stride], [0, 1 / rows.stride, -rows.offset / rows.stride]]
    )
    height, width = cells.size
    fade = np.outer(_fade(rows, maps.shape[1], height), _fade(columns, maps.shape[2], width))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size, border = (width, height), cv2.BORDER_REPLICATE
    return fade * np.stack([cv2.warpAffine(heat, matrix, size, flags=flags, borderMode=border) for heat in maps])


def find_box(cells: Cells | None, shape: tuple[int, ...], *, ring: int = 0) -> tuple[float, float, float, float]:
    """Find where `lay_maps` lays a map (h', w') with a ring of more cells: left, top, width, height in shares."""
    if cells is None:
        rows, columns = shape
        return -ring / columns, -ring / rows, 1 + 2 * ring / columns, 1 + 2 * ring / rows
    spans = []
    for axis, n_cells, size_px in zip((cells.columns, cells.rows), shape[::-1], cells.size[::-1], strict=True):
        cut = _cut_axis(axis, n_cells, size_px)
        spans.append(
            ((cut.offset + 0.5 - (0.5 + ring) * cut.stride) / size_px, cut.stride * (n_cells + 2 * ring) / size_px)
        )
    (left, width), (top, height) = spans
    return left, top, width, height


def _cut_axis(axis: Axis, n_cells: int, size_px: int) -> Axis:
    """Squeeze cells evenly into the image where the tiles around their middles reach beyond it."""
    first = axis.offset + 0.5 - axis.stride / 2
    low, high = max(first, 0.0), min(first + axis.stride * n_cells, float(size_px))
    stride = (high - low) / n_cells
    return Axis(low + stride / 2 - 0.5, stride)


def _fade(axis: Axis, n_cells: int, size_px: int) -> np.ndarray:
    """Weights (size_px,): 1 on the cells' tiles, falling to 0 within a tile's width beyond the last ones."""
    places = (np.arange(size_px) - axis.offset) / axis.stride
    beyond = np.maximum(-0.5 - places, places - (n_cells - 0.5))
    return np.clip(1 - beyond, 0, 1).astype(np.float32)


def locate_cells(model: keras.Model, layer: str) -> tuple[Axis, Axis]:
    """Locate a layer's rows and columns of cells; follow them back to the input by the first input of each layer."""
    tensor = find_output(model, layer)
    axes = [Axis(0.0, 1.0), Axis(0.0, 1.0)]
    while True:
        operation, node_index, _ = tensor._keras_history
        inputs = operation._inbound_nodes[node_index].input_tensors
        if not inputs:
            return axes[0], axes[1]
        for axis in (0, 1):
            step = _locate_inputs(operation, axis, inputs[0].shape[axis + 1] if len(inputs[0].shape) == 4 else None)
            axes[axis] = Axis(step.offset + step.stride * axes[axis].offset, step.stride * axes[axis].stride)
        tensor = inputs[0]


def _locate_inputs(operation: Any, axis: int, n_cells: int | None) -> Axis:
    """Locate an operation's cells among those of its input."""
    if type(operation).__name__ in ("ZeroPadding2D", "Cropping2D"):
        is_padding = type(operation).__name__ == "ZeroPadding2D"
        before = (operation.padding if is_padding else operation.cropping)[axis][0]
        return Axis(-before if is_padding else before, 1.0)
    kernel = getattr(operation, "kernel_size", None) or getattr(operation, "pool_size", None)
    if kernel is None or "Transpose" in type(operation).__name__:
        return Axis(0.0, 1.0)
    stride, dilation = operation.strides[axis], getattr(operation, "dilation_rate", (1, 1))[axis]
    reach = (kernel[axis] - 1) * dilation
    padded = 0
    if operation.padding == "same" and n_cells is not None:
        padded = max((-(-n_cells // stride) - 1) * stride + reach + 1 - n_cells, 0) // 2
    return Axis(reach / 2 - padded, float(stride))
