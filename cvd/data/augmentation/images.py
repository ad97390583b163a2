"""Augmentation of single images in one go: warp, colours, erased patch, each at most one pass over the pixels.

OpenCV's passes over uint8 pixels release Python's lock, so that calls from several threads run in parallel.
"""

from typing import NamedTuple

import numpy as np

from cvd.data.augmentation.colours import Colours, change_colours, describe_colours, sample_colours
from cvd.data.augmentation.draws import Augmentation
from cvd.data.augmentation.geometry import Affine, describe_affine, sample_affine, warp_image
from cvd.data.augmentation.patches import Patch, erase_patch, sample_erasing
from cvd.runtime.threads import yield_between


class Draw(NamedTuple):
    """What is done to one image, in this order."""

    affine: Affine
    colours: Colours
    erased: Patch


def augment_images(images: np.ndarray, augmentation: Augmentation, *, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Augment (b, h, w, 3) uint8 images, whose indices in their split are (b,); the result has the same shape.

    Each result depends on (seed, epoch, index) and its own pixels alone. Edge pixels repeat outside an image.
    """
    height, width = images.shape[1:3]
    results = np.empty_like(images)  # (b, h, w, 3)
    for image, result, index in yield_between(zip(images, results, indices, strict=True)):
        draw = sample_draw(augmentation, epoch=epoch, index=int(index), height=height, width=width)
        warp_image(image, draw.affine.matrix, out=result)
        change_colours(result, draw.colours)
        erase_patch(result, draw.erased, seed=augmentation.seed, epoch=epoch)
    return results


def sample_draw(augmentation: Augmentation, *, epoch: int, index: int, height: int, width: int) -> Draw:
    """Sample what is done to one image."""
    return Draw(
        sample_affine(augmentation, epoch=epoch, index=index, height=height, width=width),
        sample_colours(augmentation, epoch=epoch, index=index),
        sample_erasing(augmentation, epoch=epoch, index=index, height=height, width=width),
    )


def describe_draw(draw: Draw, *, height: int, width: int) -> list[str]:
    """Describe in short lines what is done to an image, in order."""
    share = draw.erased.measure_share(height, width)
    erased = [f"erased {share:.0%}"] if share else []
    return [*describe_affine(draw.affine), *describe_colours(draw.colours), *erased] or ["unchanged"]
