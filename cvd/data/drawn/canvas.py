"""A layer to paint on: soft-shaded shapes with coverage, so that masks come for free."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvd.data.drawn.geometry import Points

Image = NDArray[np.float32]  # (3, h, w), RGB, 0..1: a mask (h, w) multiplies it without being copied
Mask = NDArray[np.float32]  # (h, w), 0..1
Region = tuple[slice, slice]  # rows and columns
_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


@dataclass(frozen=True)
class Texture:
    """Two colours mixed, times strokes, over a whole picture; computed where it is painted."""

    main: Image  # (3, 1, 1)
    change: Image  # (3, 1, 1): the second colour minus the main one
    mix: Mask | None  # (h, w): share of the second colour; None: nothing of it
    strokes: Mask  # (h, w), about 1
    shade: float = 1.0

    def crop(self, region: Region) -> Image:
        """Compute a region's colours."""
        if self.mix is None:
            image = self.main * self.strokes[region]
        else:
            image = self.mix[region] * self.change
            image += self.main
            image *= self.strokes[region]
        if self.shade != 1:
            image *= np.float32(self.shade)
        return image

    def darken(self, shade: float) -> Texture:
        """The same texture, darker by a factor."""
        return replace(self, shade=shade)

    def measure_brightness(self) -> float:
        """Compute the mean over the whole picture and its channels."""
        mixed = 0 if self.mix is None else float((self.mix * self.strokes).mean()) * float(self.change.mean())
        return mixed + float(self.strokes.mean()) * float(self.main.mean())


def blur(mask: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Blur by a Gaussian; wide ones at a smaller size."""
    if sigma_px < 3:
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma_px), np.uint8)
    h, w = mask.shape
    factor = sigma_px / 1.5
    small = cv2.resize(mask, (max(2, round(w / factor)), max(2, round(h / factor))), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1.5)
    return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)


def widen(colour: ArrayLike) -> Image:
    """A colour (3,) as an image of one pixel, (3, 1, 1)."""
    return np.asarray(colour, np.float32).reshape(3, 1, 1)


def rasterise(outline: Points, shape: tuple[int, int], offset: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """Fill an outline in pixels: anti-aliased coverage, 0..255."""
    mask = np.zeros(shape, np.uint8)
    points = np.rint((outline - np.asarray(offset)) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, _SHIFT)
    return mask


@dataclass
class Canvas:
    """Colour, coverage, and the part of the coverage that belongs to the head."""

    shape: tuple[int, int]
    light: tuple[float, float] = (-0.5, -0.8)
    colour: Image = field(init=False)
    alpha: Mask = field(init=False)
    head: Mask = field(init=False)
    extent: Region = field(init=False, default=(slice(0), slice(0)))  # around all that has been painted
    _has_head: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.colour = np.zeros((3, *self.shape), np.float32)
        self.alpha = np.zeros(self.shape, np.float32)
        self.head = np.zeros(self.shape, np.float32)

    def _region(self, outline: Points, margin: int) -> Region | None:
        (left, top), (right, bottom) = outline.min(0).tolist(), outline.max(0).tolist()
        x0, y0 = max(0, math.floor(left) - margin), max(0, math.floor(top) - margin)
        x1 = min(self.shape[1], math.ceil(right) + margin + 1)
        y1 = min(self.shape[0], math.ceil(bottom) + margin + 1)
        return (slice(y0, y1), slice(x0, x1)) if x1 - x0 > 1 and y1 - y0 > 1 else None

    def paint(
        self,
        outline: Points,
        albedo: ArrayLike | Texture,
        *,
        relief: float = 0.5,
        edge: float = 0.3,
        opacity: float = 1.0,
        soft_px: float = 0.0,
        is_head: bool = False,
        within: Mask | None = None,
    ) -> None:
        """Paint one rounded shape over what is there.

        Args:
            outline: (n, 2) polygon, pixels.
            albedo: a colour (3,) or a texture, 0..1.
            relief: how strongly the side towards the light brightens.
            edge: how much the rim darkens.
            opacity: 0..1.
            soft_px: width of a blurred edge.
            is_head: whether the shape belongs to the head.
            within: coverage that the shape is clipped to; then the layer's own coverage stays.
        """
        region = self._region(outline, 2 + int(2 * soft_px))
        if region is None:
            return
        ys, xs = region
        mask = rasterise(outline, (ys.stop - ys.start, xs.stop - xs.start), (xs.start, ys.start))
        if soft_px > 0.3:
            mask = blur(mask, soft_px)
        cover = np.multiply(mask, np.float32(opacity / 255.0), dtype=np.float32)
        paint = albedo.crop(region) if isinstance(albedo, Texture) else widen(albedo)
        if relief or edge:
            paint = paint * _shade(mask, self.light, relief, edge)
        self._lay(region, paint, cover, is_head, within)

    def stroke(
        self,
        path: Points,
        colour: ArrayLike,
        width_px: float,
        *,
        opacity: float = 1.0,
        is_head: bool = False,
        within: Mask | None = None,
    ) -> None:
        """Paint an open line of an even width."""
        region = self._region(path, 2 + int(width_px))
        if region is None:
            return
        ys, xs = region
        mask = np.zeros((ys.stop - ys.start, xs.stop - xs.start), np.uint8)
        points = np.rint((path - (xs.start, ys.start)) * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(mask, [points], False, 255, max(1, round(width_px)), cv2.LINE_AA, _SHIFT)
        cover = mask.astype(np.float32) * np.float32(opacity * min(1.0, max(width_px, 0.45)) / 255.0)
        self._lay(region, widen(colour), cover, is_head, within)

    def _lay(self, region: Region, paint: Image, cover: Mask, is_head: bool, within: Mask | None) -> None:
        """Blend paint, (3, 1, 1) or of the region's shape, over the layer."""
        if within is not None:
            cover = cover * within[region]
        blend(self.colour[:, *region], paint, cover)
        if within is None:
            self.extent = _join(self.extent, region)
            blend(self.alpha[region], np.float32(1), cover)
            self._has_head |= is_head
            if self._has_head:  # before its first part there is nothing to cover
                blend(self.head[region], np.float32(is_head), cover)

    def lay_over(self, picture: Image) -> None:
        """Cover a picture, in place, with what has been painted."""
        blend(picture[:, *self.extent], self.colour[:, *self.extent].clip(0, 1), self.alpha[self.extent])

    def darken(self, outline: Points, strength: float, soft_px: float) -> None:
        """Throw a soft shadow on what has been painted."""
        self.paint(outline, (0.05, 0.04, 0.06), relief=0, edge=0, opacity=strength, soft_px=soft_px, within=self.alpha)


def _join(first: Region, second: Region) -> Region:
    if not first[0].stop:
        return second
    rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return rows, columns


def blend(layer: Image | Mask, paint: Image | np.float32, cover: Mask) -> None:
    """Move a layer, in place, towards the paint by its coverage, 0..1."""
    change = paint - layer
    change *= cover
    layer += change


def _shade(mask: NDArray[np.uint8], light: tuple[float, float], relief: float, edge: float) -> Mask:
    """Light and rim of an inflated shape, from the slope of its blurred coverage."""
    h, w = mask.shape
    factor = max(1.0, min(h, w) / 20.0)
    small = cv2.resize(mask, (max(4, int(w / factor)), max(4, int(h / factor))), interpolation=cv2.INTER_AREA)
    height = cv2.GaussianBlur(small.astype(np.float32) / 255.0, (15, 15), 3.2, borderType=cv2.BORDER_REPLICATE)
    lx, ly = -1.3 * relief * light[0], -1.3 * relief * light[1]
    slope = np.array([[-lx - ly, -2 * ly, lx - ly], [-2 * lx, 0, 2 * lx], [ly - lx, 2 * ly, lx + ly]], np.float32)
    shade = cv2.filter2D(height, -1, slope) - edge * (1.0 - height) + 1.0  # Sobel's slopes along the light
    return np.asarray(cv2.resize(shade.clip(0.25, 1.6), (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
