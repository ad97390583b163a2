"""Brightness, contrast and saturation as one affine map of colours: one 3x4 matrix per image."""

from typing import NamedTuple

import cv2
import numpy as np

from cvd.data.augmentation.draws import COLOURS, Augmentation, draw_numbers

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601
IDENTITY = np.eye(3)
UNCHANGED = 0.0, 1.0, 1.0


class Colours(NamedTuple):
    """The values sampled for one image."""

    brightness: float = 0.0  # of 255, added to every channel
    contrast: float = 1.0  # factor of the distance from the channel's mean
    saturation: float = 1.0  # factor of the distance from the pixel's grey


def sample_colours(augmentation: Augmentation, *, epoch: int, index: int) -> Colours:
    """Sample one image's change of colours. Changing one range changes that one value only."""
    ranges = augmentation.brightness_fraction, augmentation.contrast_fraction, augmentation.saturation_fraction
    if not any(ranges):
        return Colours()
    numbers = draw_numbers(COLOURS, augmentation, epoch=epoch, index=index, n=3)
    # 2u - 1 is uniform in -1..1
    brightness, contrast, saturation = (reach * (2 * u - 1) for reach, u in zip(ranges, numbers, strict=True))
    return Colours(brightness, 1 + contrast, 1 + saturation)


def change_colours(image: np.ndarray, colours: Colours) -> None:
    """Change the colours of (h, w, 3) uint8 RGB pixels in place; results are rounded and cut to 0..255."""
    if colours != UNCHANGED:
        # OpenCV computes with matrices rounded to 1/1024: results may be off by 1.
        cv2.transform(image, make_matrix(colours, np.array(cv2.mean(image)[:3])), dst=image)


def make_matrix(colours: Colours, means: np.ndarray) -> np.ndarray:
    """Compose the matrix, (3, 4), of an image whose channels have these means, (3,).

    x -> x + 255 b, then f (x - m) + m about the new means m, then s x + (1 - s) g of the pixel's grey g: the formulas
    of Keras' RandomBrightness, RandomContrast and RandomColorDegeneration (whose factor is 1 - s), in this order.
    """
    b, f, s = colours.brightness, colours.contrast, colours.saturation
    blend = s * IDENTITY + (1 - s) * LUMA  # (3, 3); each row adds (1 - s) of the grey
    matrix = np.empty((3, 4))
    matrix[:, :3] = f * blend
    matrix[:, 3] = blend @ ((1 - f) * means + 255 * b)
    return matrix


def describe_colours(colours: Colours) -> list[str]:
    """Describe in short lines what happens to the colours, in order."""
    lines = [f"brightness {colours.brightness:+.0%}".replace("-", "−")] if colours.brightness else []
    for name in ("contrast", "saturation"):
        factor = getattr(colours, name)
        if factor != 1:
            lines.append(f"{name} ×{factor:.2f}")
    return lines
