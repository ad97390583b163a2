"""A layer to paint on: soft-shaded shapes with coverage, so that masks come for free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvd.data.drawn.geometry import Points

Image = NDArray[np.float32]  # (h, w, 3), RGB, 0..1
Mask = NDArray[np.float32]  # (h, w), 0..1
_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


def spread(mask: Mask) -> Image:
    """Repeat a mask (h, w) over three channels; several times faster than broadcasting."""
    return merge([mask, mask, mask])


def merge(channels: Sequence[Mask]) -> Image:
    """Merge three (h, w) channels into one (h, w, 3) image."""
    return np.asarray(cv2.merge(channels), np.float32)


def blur(mask: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Blur by a Gaussian; wide ones at a smaller size."""
    if sigma_px < 3:
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma_px), np.uint8)
    h, w = mask.shape
    factor = sigma_px / 1.5
    small = cv2.resize(mask, (max(2, round(w / factor)), max(2, round(h / factor))), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1.5)
    return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)


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

    def __post_init__(self) -> None:
        self.colour = np.zeros((*self.shape, 3), np.float32)
        self.alpha = np.zeros(self.shape, np.float32)
        self.head = np.zeros(self.shape, np.float32)

    def _region(self, outline: Points, margin: int) -> tuple[slice, slice] | None:
        low = np.floor(outline.min(0)).astype(int) - margin
        high = np.ceil(outline.max(0)).astype(int) + margin + 1
        x0, y0 = max(0, low[0]), max(0, low[1])
        x1, y1 = min(self.shape[1], high[0]), min(self.shape[0], high[1])
        return (slice(y0, y1), slice(x0, x1)) if x1 - x0 > 1 and y1 - y0 > 1 else None

    def paint(
        self,
        outline: Points,
        albedo: ArrayLike,
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
            albedo: a colour (3,) or a field (h, w, 3), 0..1.
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
        colour = np.asarray(albedo, np.float32)
        paint = colour[region] if colour.ndim == 3 else colour
        if relief or edge:
            shade = _shade(mask, self.light, relief, edge)
            paint = paint * spread(shade) if colour.ndim == 3 else merge([shade * c for c in colour])
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
        self._lay(region, np.asarray(colour, np.float32), cover, is_head, within)

    def _lay(self, region: tuple[slice, slice], paint: Image, cover: Mask, is_head: bool, within: Mask | None) -> None:
        """Blend paint, (3,) or of the region's shape, over the layer."""
        if within is not None:
            cover = cover * within[region]
        self.colour[region] += (paint - self.colour[region]) * spread(cover)
        if within is None:
            self.alpha[region] += (1.0 - self.alpha[region]) * cover
            self.head[region] += (np.float32(is_head) - self.head[region]) * cover

    def darken(self, outline: Points, strength: float, soft_px: float) -> None:
        """Throw a soft shadow on what has been painted."""
        self.paint(outline, (0.05, 0.04, 0.06), relief=0, edge=0, opacity=strength, soft_px=soft_px, within=self.alpha)


def _shade(mask: NDArray[np.uint8], light: tuple[float, float], relief: float, edge: float) -> Mask:
    """Light and rim of an inflated shape, from the slope of its blurred coverage."""
    h, w = mask.shape
    factor = max(1.0, min(h, w) / 20.0)
    small = cv2.resize(mask, (max(4, int(w / factor)), max(4, int(h / factor))), interpolation=cv2.INTER_AREA)
    height = cv2.GaussianBlur(small.astype(np.float32) / 255.0, (15, 15), 3.2, borderType=cv2.BORDER_REPLICATE)
    lx, ly = -1.3 * relief * light[0], -1.3 * relief * light[1]
    slope = np.array([[-lx - ly, -2 * ly, lx - ly], [-2 * lx, 0, 2 * lx], [ly - lx, 2 * ly, lx + ly]], np.float32)
    shade = cv2.filter2D(height, -1, slope) - edge * (1.0 - height) + 1.0  # Sobel's slopes along the light
    return np.asarray(cv2.resize(np.clip(shade, 0.25, 1.6), (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
