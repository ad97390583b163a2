"""Erased patches: of the share that is drawn, anywhere, and nothing beside them changes."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from augmentation_samples import NOTHING

from cvd.data.augmentation.draws import draw_noise
from cvd.data.augmentation.patches import NARROWEST, Patch, erase_patch, place_patch, sample_erasing

SIDE = 150
ERASING = replace(NOTHING, erase_fraction=0.4)


@pytest.fixture(scope="module")
def patches() -> list[Patch]:
    return [sample_erasing(ERASING, epoch=1, index=index, height=SIDE, width=SIDE) for index in range(3000)]


def test_shares_are_uniform_up_to_the_fraction(patches: list[Patch]) -> None:
    shares = [patch.measure_share(SIDE, SIDE) for patch in patches]
    counts = np.histogram(shares, bins=5, range=(0, 0.405))[0]  # whole pixels
    assert counts.sum() == 3000
    np.testing.assert_allclose(counts / 3000, 0.2, atol=0.04)


def test_patches_lie_within_the_image_and_in_all_of_it(patches: list[Patch]) -> None:
    cover = np.zeros((SIDE, SIDE))
    for patch in patches:
        assert 0 <= patch.top <= patch.top + patch.height <= SIDE
        assert 0 <= patch.left <= patch.left + patch.width <= SIDE
        cover[patch.slices] += 1
    assert cover[5:-5, 5:-5].min() > 0
    large = [patch for patch in patches if patch.measure_share(SIDE, SIDE) > 0.05]
    ratios = np.log([patch.height / patch.width for patch in large])
    assert abs(ratios.mean()) < 0.06  # as often lying as standing
    assert np.abs(ratios).max() < -np.log(NARROWEST) + 0.05
    assert np.abs(ratios).max() > 1


def test_the_largest_patch_is_the_image() -> None:
    assert place_patch(1.0, at=(0.3, 0.7), height=40, width=60) == Patch(0, 0, 40, 60)
    assert place_patch(0.25, at=(0, 1), height=40, width=60) == Patch(0, 30, 20, 30)
    everything = replace(NOTHING, erase_fraction=1.0)
    for index in range(300):
        patch = sample_erasing(everything, epoch=0, index=index, height=33, width=48)
        assert patch.top + patch.height <= 33
        assert patch.left + patch.width <= 48


def test_erasing_is_keras_with_the_same_patch_and_noise() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    patch, noise = Patch(20, 31, 40, 77), draw_noise(1, 5, SIDE, SIDE)
    mask = np.zeros((1, SIDE, SIDE, 1), bool)
    mask[0, 20:60, 31:108] = True
    transformation = {"batch_masks": mask, "apply_erasing": np.array([True]), "fill_value": noise.astype(np.float32)}
    theirs = keras.layers.RandomErasing(1.0).transform_images(image[np.newaxis], transformation)
    erase_patch(image, patch, seed=1, epoch=5)
    np.testing.assert_array_equal(image, np.asarray(theirs)[0])


def test_noise_is_uniform_and_another_in_each_epoch() -> None:
    noise = draw_noise(1, 0, SIDE, SIDE)
    assert abs(noise.mean() - 127.5) < 1
    assert abs(noise.std() - 255 / np.sqrt(12)) < 1
    assert np.mean(noise == draw_noise(1, 1, SIDE, SIDE)) < 0.01


def test_nothing_is_erased_where_nothing_is_asked() -> None:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    erase_patch(image, sample_erasing(NOTHING, epoch=0, index=0, height=SIDE, width=SIDE), seed=1, epoch=0)
    assert not image.any()
