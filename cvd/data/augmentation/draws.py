"""What training images are changed by, and the random numbers: stateless, from (seed, epoch, index)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Each purpose has a stream of its own, so that none moves another's numbers. 1 orders the images (cvd.data.examples), 3
# mirrors features (cvd.training.transfer).
GEOMETRY, COLOURS, ERASING, NOISE, MIXING, MIXUP, CUTMIX = 2, 4, 5, 6, 7, 8, 9
BLOCK = 1024  # neighbouring images whose numbers are drawn together


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes of training images: the section `augment` of params.yaml; 0 is none."""

    seed: int  # 0 to 2**31 - 1
    rotation_degrees: float  # uniform within plus or minus this
    shift_fraction: float  # of the side, in x and in y
    shear_degrees: float  # uniform within plus or minus this
    zoom_fraction: float  # scale within 1 minus and 1 plus this, in x and in y
    horizontal_flip: bool  # mirror half of the images
    brightness_fraction: float  # of 255, added: uniform within plus or minus this
    contrast_fraction: float  # factor within 1 minus and 1 plus this
    saturation_fraction: float  # factor within 1 minus and 1 plus this
    erase_fraction: float  # of the area, at most, in one rectangle of noise
    mixup_alpha: float  # of Beta(alpha, alpha), which gives the partner's share in a blend
    cutmix_alpha: float  # of Beta(alpha, alpha), which gives the partner's share of the area


def draw_numbers(stream: int, augmentation: Augmentation, *, epoch: int, index: int, n: int) -> list[float]:
    """Draw an image's n numbers of a stream, uniform in 0..1."""
    return _draw_block(stream, augmentation.seed, epoch, index // BLOCK, n)[index % BLOCK].tolist()


def draw_share(stream: int, augmentation: Augmentation, *, epoch: int, index: int, alpha: float) -> float:
    """Draw an image's share from Beta(alpha, alpha), 0 to 1."""
    return float(_draw_shares(stream, augmentation.seed, epoch, index // BLOCK, alpha)[index % BLOCK])


@lru_cache(maxsize=512)
def _draw_block(stream: int, seed: int, epoch: int, block: int, n: int) -> np.ndarray:
    """Draw a block's uniform numbers, (BLOCK, n): a generator per image costs 17 us."""
    return np.random.default_rng((stream, seed, epoch, block)).random((BLOCK, n))


@lru_cache(maxsize=512)
def _draw_shares(stream: int, seed: int, epoch: int, block: int, alpha: float) -> np.ndarray:
    return np.random.default_rng((stream, seed, epoch, block)).beta(alpha, alpha, BLOCK)  # (BLOCK,)


@lru_cache(maxsize=4)
def draw_noise(seed: int, epoch: int, height: int, width: int) -> np.ndarray:
    """Draw an epoch's sheet of noise, (h, w, 3) uint8, uniform in 0..255; an erased patch shows a part of it."""
    return np.random.default_rng((NOISE, seed, epoch)).integers(0, 256, (height, width, 3), np.uint8)
