"""Faults planted on purpose: exchanged labels, and a watermark on training images of one class."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from cvd.data.images.pixels import decode_image, encode_jpeg

MARK = 0.2  # side of the watermark, as a share of the image's shorter side
_MARGIN = 0.03  # between it and the image's edges, likewise
_OPACITY = 0.85


def plant_noise(
    labels: Sequence[int], splits: Sequence[str], names: Sequence[str], *, share: float, seed: int
) -> list[bool]:
    """Choose training images whose labels are to be exchanged: the same share of each class, rounded.

    Images are ranked by a hash of seed and name. So a larger share keeps the images of a smaller one.

    Args:
        labels: (n,) 0 or 1.
        splits: (n,); only those of train are chosen.
        names: (n,), all different, such as the images' hashes.
        share: of the training images of each class, 0 to 1.
        seed: of the ranks.
    """
    return _choose(labels, splits, names, dict.fromkeys(set(labels), share), f"{seed}/label_noise")


def plant_watermarks(
    labels: Sequence[int], splits: Sequence[str], names: Sequence[str], *, share: float, seed: int
) -> list[bool]:
    """Choose training images of the second class that are to bear a watermark; as `plant_noise`."""
    return _choose(labels, splits, names, {1: share}, f"{seed}/watermark")


def _choose(
    labels: Sequence[int], splits: Sequence[str], names: Sequence[str], shares: dict[int, float], salt: str
) -> list[bool]:
    chosen: set[int] = set()
    for label, share in shares.items():
        members = [i for i in range(len(labels)) if splits[i] == "train" and labels[i] == label]
        members.sort(key=lambda i: hashlib.sha256(f"{salt}/{names[i]}".encode()).digest())
        chosen.update(members[: int(Fraction(str(share)) * len(members) + Fraction(1, 2))])
    return [i in chosen for i in range(len(labels))]


def stamp_watermark(jpeg: bytes) -> tuple[bytes, bytes]:
    """Stamp an RGB JPEG: the image as a JPEG, and the watermark's mask as a PNG, 8-bit grey, 0 or 255.

    The mark is a light disc with a dark ring and cross, at the lower right.
    """
    image = decode_image(jpeg)  # (h, w, 3)
    height, width = image.shape[:2]
    radius = MARK / 2 * min(height, width)
    inset = radius + _MARGIN * min(height, width)
    y, x = (np.mgrid[:height, :width].T - np.array([height - inset, width - inset])).T  # (h, w) each
    distance = np.hypot(y, x) / radius
    is_mark = distance <= 1
    is_dark = (distance > 0.78) | ((np.minimum(abs(x), abs(y)) < 0.14 * radius) & (distance < 0.6))
    colour = np.where(is_dark[..., None], np.array([20, 30, 90]), np.array([245, 245, 245]))  # (h, w, 3)
    painted = image + _OPACITY * is_mark[..., None] * (colour - image)
    return encode_jpeg(painted.round().astype(np.uint8)), _encode_mask(is_mark)


def _encode_mask(mask: NDArray[np.bool_]) -> bytes:
    done, data = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a PNG of shape {mask.shape}")
    return data.tobytes()
