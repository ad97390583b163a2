"""All changes of an image together, and in words; without the new ones the bits are those of the warp alone."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from augmentation_samples import MOVES, smooth_images

from cvd.data.augmentation.colours import change_colours
from cvd.data.augmentation.geometry import make_affine, warp_image
from cvd.data.augmentation.images import augment_images, describe_draw, sample_draw
from cvd.data.augmentation.mixing import mix_batch
from cvd.data.augmentation.patches import erase_patch
from cvd.data.augmentation.samples import augment_sample

EVERYTHING = replace(MOVES, brightness_fraction=0.2, contrast_fraction=0.3, saturation_fraction=0.5, erase_fraction=0.3)


def test_with_the_new_ranges_at_0_the_bits_are_those_of_the_warp_and_its_seven_numbers() -> None:
    images, indices = smooth_images(6, 90, 90), np.array([3, 1024, 0, 7, 2047, 25_000])
    results = augment_images(images, MOVES, epoch=2, indices=indices)
    for image, result, index in zip(images, results, indices, strict=True):
        numbers = np.random.default_rng((2, 1, 2, index // 1024)).random((1024, 7))[index % 1024]
        u = 2 * numbers - 1
        matrix = make_affine(
            rotation_degrees=40 * u[0], shift_x=0.2 * u[1], shift_y=0.2 * u[2], shear_degrees=11.5 * u[3],
            zoom_x=1 + 0.2 * u[4], zoom_y=1 + 0.2 * u[5], flip=numbers[6] < 0.5, height=90, width=90,
        ).matrix  # fmt: skip
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        expected = cv2.warpAffine(image, matrix, (90, 90), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        np.testing.assert_array_equal(result, expected)


def test_new_kinds_leave_the_moves_as_they_are() -> None:
    with_all, moves = (sample_draw(kind, epoch=1, index=9, height=64, width=64) for kind in (EVERYTHING, MOVES))
    np.testing.assert_array_equal(with_all.affine.matrix, moves.affine.matrix)
    assert with_all.colours != moves.colours
    assert with_all.erased != moves.erased


def test_warp_then_colours_then_erasing() -> None:
    image = smooth_images(1)
    result = augment_images(image, EVERYTHING, epoch=6, indices=np.array([77]))[0]
    draw = sample_draw(EVERYTHING, epoch=6, index=77, height=64, width=64)
    expected = warp_image(image[0], draw.affine.matrix)
    change_colours(expected, draw.colours)
    erase_patch(expected, draw.erased, seed=1, epoch=6)
    np.testing.assert_array_equal(result, expected)
    assert np.mean(result != warp_image(image[0], draw.affine.matrix)) > 0.5


def test_an_images_result_depends_on_seed_epoch_and_index_alone() -> None:
    images, indices = smooth_images(5), np.array([3, 2000, 0, 1024, 1023])
    together = augment_images(images, EVERYTHING, epoch=2, indices=indices)
    for k in range(5):
        alone = augment_images(images[k : k + 1], EVERYTHING, epoch=2, indices=indices[k : k + 1])
        np.testing.assert_array_equal(alone[0], together[k])
    others = [augment_images(images, kind, epoch=epoch, indices=indices)
              for kind, epoch in ((EVERYTHING, 3), (replace(EVERYTHING, seed=2), 2))]  # fmt: skip
    for other in others:
        assert all(np.mean(mine != theirs) > 0.5 for mine, theirs in zip(together, other, strict=True))


@pytest.mark.parametrize("alphas", [{}, {"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}])
def test_a_sample_is_what_training_sees_and_says_it(alphas: dict[str, float]) -> None:
    images, labels, indices = smooth_images(2), np.array([0, 1]), np.array([4, 11])
    kind = replace(EVERYTHING, **alphas)
    image, lines = augment_sample(
        images, labels, kind, epoch=5, indices=indices, partner="dog.11.jpg", classes=("cat", "dog")
    )
    expected = augment_images(images, kind, epoch=5, indices=indices)
    soft = labels[:, np.newaxis].astype(np.float32)
    if alphas:
        expected, soft = mix_batch(expected, soft, kind, epoch=5, indices=indices)
    np.testing.assert_array_equal(image, expected[0])
    draw = sample_draw(kind, epoch=5, index=4, height=64, width=64)
    changes = describe_draw(draw, height=64, width=64)
    assert lines[: len(changes)] == changes
    assert [line.split()[0] for line in changes[-4:]] == ["brightness", "contrast", "saturation", "erased"]
    share = f"{soft[0, 0]:.0%}"
    mixed = [f"{share} {'blended' if 'mixup_alpha' in alphas else 'pasted'} from", "dog.11.jpg"]
    assert lines[len(changes) :] == ([*mixed, f"label: {1 - soft[0, 0]:.0%} cat, {share} dog"] if alphas else [])


def test_an_unchanged_image_is_called_so() -> None:
    nothing = replace(MOVES, rotation_degrees=0.0, shift_fraction=0.0, shear_degrees=0.0, zoom_fraction=0.0)
    draw = sample_draw(replace(nothing, horizontal_flip=False), epoch=0, index=0, height=9, width=9)
    assert describe_draw(draw, height=9, width=9) == ["unchanged"]
