"""Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): two images in one, with a label between theirs."""

from dataclasses import dataclass

import cv2
import numpy as np

from cvd.data.augmentation.draws import CUTMIX, MIXING, MIXUP, Augmentation, draw_numbers, draw_share
from cvd.data.augmentation.patches import Patch, place_patch


@dataclass(frozen=True)
class Mix:
    """What one image takes from its partner."""

    share: float  # of the partner in the pixels and in the label, 0 to 1
    patch: Patch | None  # where the partner's pixels are pasted; None: they are blended in everywhere


def is_mixing(augmentation: Augmentation) -> bool:
    """Whether images are mixed at all."""
    return bool(augmentation.mixup_alpha or augmentation.cutmix_alpha)


def mix_batch(
    images: np.ndarray, labels: np.ndarray, augmentation: Augmentation, *, epoch: int, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mix each image of a batch with the next one, the last with the first; its label likewise.

    The order of an epoch is random, so the next image is a random other one; no partner is drawn. Each share depends on
    (seed, epoch, index) alone. A single image stays as it is.

    Args:
        images: (b, h, w, 3), uint8.
        labels: (b, 1), float32, 0 or 1.
        augmentation: its `mixup_alpha` and `cutmix_alpha`; with both, either is done to half of the images.
        epoch: from 0.
        indices: of the images in their split, (b,).

    Returns:
        New images and labels of these shapes: y + share (y of the partner - y).
    """
    height, width = images.shape[1:3]
    mixes = [sample_mix(augmentation, epoch=epoch, index=int(k), height=height, width=width) for k in indices]
    mixed = np.empty_like(images)  # (b, h, w, 3)
    for number, mix in enumerate(mixes):
        mix_pair(images[number], images[(number + 1) % len(images)], mix, out=mixed[number])
    shares = np.array([[mix.share] for mix in mixes], np.float32)  # (b, 1)
    return mixed, labels + shares * (np.roll(labels, -1, axis=0) - labels)


def sample_mix(augmentation: Augmentation, *, epoch: int, index: int, height: int, width: int) -> Mix:
    """Sample how one image is mixed."""
    kind, down, right = draw_numbers(MIXING, augmentation, epoch=epoch, index=index, n=3)
    mixup, cutmix = augmentation.mixup_alpha, augmentation.cutmix_alpha
    if mixup and not (cutmix and kind < 0.5):
        return Mix(draw_share(MIXUP, augmentation, epoch=epoch, index=index, alpha=mixup), None)
    share = draw_share(CUTMIX, augmentation, epoch=epoch, index=index, alpha=cutmix)
    patch = place_patch(share, at=(down, right), height=height, width=width)
    return Mix(patch.measure_share(height, width), patch)  # the label follows the whole pixels


def mix_pair(image: np.ndarray, partner: np.ndarray, mix: Mix, *, out: np.ndarray) -> None:
    """Mix two (h, w, 3) uint8 images into `out`."""
    if mix.patch is None:
        cv2.addWeighted(image, 1 - mix.share, partner, mix.share, 0, dst=out)
    else:
        out[:] = image
        out[mix.patch.slices] = partner[mix.patch.slices]


def describe_mix(mix: Mix, partner: str) -> list[str]:
    """Describe in two short lines what an image takes from the partner of this name."""
    return [f"{mix.share:.0%} {'blended' if mix.patch is None else 'pasted'} from", partner]
