"""The camera: light, colour temperature, focus, sensor noise, and the JPEG that comes out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cvd.data.drawn.canvas import Image
from cvd.data.drawn.noise import fractal_noise, turn_coordinates

Rng = np.random.Generator


def expose(picture: Image, light: tuple[float, float], rng: Rng, *, is_hard: bool) -> NDArray[np.uint8]:
    """Photograph a picture, RGB 0..1 to uint8: lighting, tone, blur and noise. A hard one is dimmer and noisier."""
    shape = (picture.shape[1], picture.shape[2])
    gain = _illuminate(shape, light, rng) * np.float32(rng.uniform(0.85, 1.2) if is_hard else rng.uniform(0.95, 1.35))
    warmth = rng.normal(0, 0.09)
    balance = np.array([1 + warmth, 1 + rng.normal(0, 0.02), 1 - warmth], np.float32)
    contrast, middle = (
        np.float32(rng.uniform(0.95, 1.2) if is_hard else rng.uniform(1.0, 1.35)),
        np.float32(rng.uniform(0.42, 0.55)),
    )
    lit = gain * (balance * contrast)[:, None, None]
    lit *= picture
    lit += middle * (1 - contrast)
    if rng.random() < 0.3:
        grey = cv2.cvtColor(cv2.merge(tuple(lit)), cv2.COLOR_RGB2GRAY)
        lit -= grey
        lit *= np.float32(rng.uniform(0.2, 1.3))
        lit += grey
    image = _defocus(cv2.merge(tuple(lit)), rng)  # (h, w, 3) from here on
    sigma = np.float32(rng.gamma(2.0, 0.01 if is_hard else 0.006))
    noise = sigma * rng.standard_normal((64, shape[1] + 64, 3), np.float32)
    rows = range(0, shape[0], 64)
    for top, left in zip(rows, rng.integers(0, 64, len(rows)), strict=True):
        strip = image[top : top + 64]
        strip += noise[: len(strip), left : left + shape[1]]
    image *= 255
    image += 0.5
    return image.clip(0, 255, out=image).astype(np.uint8)


def _illuminate(shape: tuple[int, int], light: tuple[float, float], rng: Rng) -> NDArray[np.float32]:
    along, _ = turn_coordinates(shape, float(np.arctan2(light[1], light[0])))
    gain = 1 + along * np.float32(rng.uniform(0, 0.35) / max(shape))
    y, x = (np.arange(side, dtype=np.float32) - side / 2 for side in shape)
    distance = (x / (0.5 * shape[1])) ** 2 + ((y / (0.5 * shape[0])) ** 2)[:, None]
    gain *= 1 - np.float32(max(0.0, rng.normal(0.1, 0.1))) * distance
    if rng.random() < 0.25:  # shade of leaves or blinds
        gain = gain * (1 - np.float32(0.4) * np.clip(3 * fractal_noise(shape, rng.uniform(2, 8), rng, octaves=2), 0, 1))
    return gain


def _defocus(image: NDArray[np.float32], rng: Rng) -> NDArray[np.float32]:
    kind = rng.random()
    if kind < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5)), np.float32)
    if kind < 0.62:  # a moving camera
        n = int(rng.integers(3, 7))
        kernel = np.zeros((n, n), np.float32)
        angle = rng.uniform(0, np.pi)
        dx, dy = np.cos(angle) * n / 2, np.sin(angle) * n / 2
        a = (round(n / 2 - dx), round(n / 2 - dy))
        cv2.line(kernel, a, (round(n / 2 + dx), round(n / 2 + dy)), 1.0, 1)
        return np.asarray(cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6)), np.float32)
    return image


def encode_jpeg(image: NDArray[np.uint8], rng: Rng) -> bytes:
    """Encode RGB pixels as a JPEG of a random quality between 45 and 95."""
    quality = int(rng.integers(45, 96))
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError(f"OpenCV could not encode a JPEG of shape {image.shape}")
    return data.tobytes()
