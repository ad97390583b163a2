"""One augmented copy of an image, and what was done to it in words."""

import numpy as np

from cvd.data.augmentation.draws import Augmentation
from cvd.data.augmentation.images import augment_images, describe_draw, sample_draw
from cvd.data.augmentation.mixing import describe_mix, is_mixing, mix_batch, sample_mix
from cvd.runtime.vocabulary import Classes


def augment_sample(
    images: np.ndarray,
    labels: np.ndarray,
    augmentation: Augmentation,
    *,
    epoch: int,
    indices: np.ndarray,
    partner: str,
    classes: Classes,
) -> tuple[np.ndarray, list[str]]:
    """Augment the first of two images, with the second as its partner, as a training does in an epoch.

    Args:
        images: (2, h, w, 3), uint8.
        labels: (2,), 0 or 1.
        augmentation: all ranges.
        epoch: from 0.
        indices: of both in their split, (2,).
        partner: the second one's name.
        classes: the names of labels 0 and 1.

    Returns:
        The image, (h, w, 3), and short lines that say in order what was done to it.
    """
    sides = {"height": images.shape[1], "width": images.shape[2]}
    changed = augment_images(images, augmentation, epoch=epoch, indices=indices)  # (2, h, w, 3)
    lines = describe_draw(sample_draw(augmentation, epoch=epoch, index=int(indices[0]), **sides), **sides)
    if not is_mixing(augmentation):
        return changed[0], lines
    column = labels.astype(np.float32)[:, np.newaxis]
    mixed, soft = mix_batch(changed, column, augmentation, epoch=epoch, indices=indices)
    lines += describe_mix(sample_mix(augmentation, epoch=epoch, index=int(indices[0]), **sides), partner)
    shares = 1 - float(soft[0, 0]), float(soft[0, 0])
    label = ", ".join(f"{share:.0%} {name}" for share, name in zip(shares, classes, strict=True))
    return mixed[0], [*lines, f"label: {label}"]
