"""Rectangles within an image: erased with noise (Zhong et al. 2017), or pasted from another one (cutmix)."""

import math
from typing import NamedTuple

import numpy as np

from cvd.data.augmentation.draws import ERASING, Augmentation, draw_noise, draw_numbers

NARROWEST = 0.3  # an erased patch's height over its width is between this and its inverse, as in the paper


class Patch(NamedTuple):
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The index of its pixels in (h, w, 3)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def measure_share(self, height: int, width: int) -> float:
        """Measure its share of the area of an image, 0 to 1."""
        return self.height * self.width / (height * width)


def place_patch(share: float, *, ratio: float = 1.0, at: tuple[float, float], height: int, width: int) -> Patch:
    """Place a patch of this share of the area, to whole pixels, wholly within an image.

    `ratio` is its height over its width, each as a fraction of the image's; between `share` and its inverse it fits.
    `at` says how far down and to the right, each in 0..1 of what room there is.
    """
    rows, columns = round(math.sqrt(share * ratio) * height), round(math.sqrt(share / ratio) * width)
    return Patch(round(at[0] * (height - rows)), round(at[1] * (width - columns)), rows, columns)


def sample_erasing(augmentation: Augmentation, *, epoch: int, index: int, height: int, width: int) -> Patch:
    """Sample one image's erased patch.

    Its share of the area is uniform between 0 and `erase_fraction`, the logarithm of its ratio uniform, its place too.
    """
    if not augmentation.erase_fraction:
        return Patch(0, 0, 0, 0)
    area, ratio, down, right = draw_numbers(ERASING, augmentation, epoch=epoch, index=index, n=4)
    share = augmentation.erase_fraction * area
    reach = -math.log(max(NARROWEST, share))  # within it the patch fits
    return place_patch(share, ratio=math.exp(reach * (2 * ratio - 1)), at=(down, right), height=height, width=width)


def erase_patch(image: np.ndarray, patch: Patch, *, seed: int, epoch: int) -> None:
    """Fill a patch of (h, w, 3) uint8 pixels with noise, in place."""
    if patch.height and patch.width:
        image[patch.slices] = draw_noise(seed, epoch, *image.shape[:2])[patch.slices]
