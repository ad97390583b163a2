"""Changes of images for probes: each takes an image and a level, and is the same for every network."""

from collections.abc import Callable

import cv2
import numpy as np

DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up
REFERENCE_PX = 150  # levels in pixels are of images of this side, whatever a network's own is
GREY = 128
INPAINT_REACH = 0.02  # share of the side from which cv2.inpaint takes its colours
GROWTH = 0.02  # share of the side by which a mask grows before its animal is taken away, so that no edge stays

Change = Callable[[np.ndarray, float, int], np.ndarray]
"""Takes an image (s, s, 3) uint8, a level >= 0 and the image's number, which decides on sign or direction."""


def shift_image(image: np.ndarray, level: float, number: int) -> np.ndarray:
    """Shift the content by `level` pixels of REFERENCE_PX to the right, down, left or up; the edge is repeated."""
    x, y = (step * level * len(image) / REFERENCE_PX for step in DIRECTIONS[number % 4])
    return _warp(image, np.array([[1, 0, x], [0, 1, y]], np.float64))


def turn_image(image: np.ndarray, level: float, number: int) -> np.ndarray:
    """Turn by `level` degrees about the middle, every second image the other way; the edge is repeated."""
    middle = (len(image) - 1) / 2
    degrees = level if number % 2 == 0 else -level
    return _warp(image, cv2.getRotationMatrix2D((middle, middle), degrees, 1.0))


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    side = len(image)
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def brighten_image(image: np.ndarray, level: float, number: int) -> np.ndarray:
    """Add `level` of 255 to every channel, or take it from every second image, cut to 0..255."""
    added = 255 * (level if number % 2 == 0 else -level)
    return np.clip(np.rint(image.astype(np.float32) + added), 0, 255).astype(np.uint8)


def blur_image(image: np.ndarray, level: float, number: int) -> np.ndarray:
    """Blur by a Gaussian with a standard deviation of `level` pixels of REFERENCE_PX."""
    del number
    if not level:
        return image
    return cv2.GaussianBlur(image, (0, 0), level * len(image) / REFERENCE_PX)


def remove_animal(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill the place of an animal (s, s), bool, by what surrounds it (Telea 2004): what is left is background."""
    side = len(image)
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, round(GROWTH * side)))
    return cv2.inpaint(image, grown, max(1.0, INPAINT_REACH * side), cv2.INPAINT_TELEA)


def exchange_background(image: np.ndarray, mask: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Set an animal, by its mask (s, s), bool, before another background (s, s, 3), its edge softened by a pixel."""
    weight = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)[..., None]  # (s, s, 1), 0..1
    return np.rint(weight * image + (1 - weight) * background).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "shift_px": shift_image,
    "rotation_degrees": turn_image,
    "brightness_fraction": brighten_image,
    "blur_px": blur_image,
}


def change_backgrounds(images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """Change the backgrounds of images (n, s, s, 3) with masks (n, s, s), bool; "own" are the images as they are.

    Another's is that of the next image in the list, without what it shows: lists of both classes in turn give each the
    other kind's.
    """
    empty = np.stack([remove_animal(image, mask) for image, mask in zip(images, masks, strict=True)])
    backgrounds = {"grey": np.full_like(images, GREY), "another's": np.roll(empty, -1, axis=0)}
    exchanged = {
        kind: np.stack([exchange_background(*parts) for parts in zip(images, masks, others, strict=True)])
        for kind, others in backgrounds.items()
    }
    return {"own": images, **exchanged, "animal removed": empty}
