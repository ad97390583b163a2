"""Augmentations and images that the tests share."""

from dataclasses import replace

import cv2
import numpy as np

from cvd.data.augmentation.draws import Augmentation

NOTHING = Augmentation(
    seed=1,
    rotation_degrees=0.0,
    shift_fraction=0.0,
    shear_degrees=0.0,
    zoom_fraction=0.0,
    horizontal_flip=False,
    brightness_fraction=0.0,
    contrast_fraction=0.0,
    saturation_fraction=0.0,
    erase_fraction=0.0,
    mixup_alpha=0.0,
    cutmix_alpha=0.0,
)
MOVES = replace(
    NOTHING, rotation_degrees=40.0, shift_fraction=0.2, shear_degrees=11.5, zoom_fraction=0.2, horizontal_flip=True
)


def smooth_images(n: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Blobs: rich enough to tell any two warps apart, smooth enough to interpolate."""
    noise = np.random.default_rng(0).integers(0, 256, (n, height, width, 3)).astype(np.uint8)
    blurred = np.stack([cv2.GaussianBlur(each, (0, 0), 3) for each in noise]).astype(float)
    low, high = blurred.min(), blurred.max()
    return ((blurred - low) / (high - low) * 255).astype(np.uint8)
