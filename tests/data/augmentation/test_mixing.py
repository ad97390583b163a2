"""Mixup and cutmix: Keras' formulas for the same shares, Beta's distribution, labels by what is seen."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from augmentation_samples import NOTHING
from scipy.stats import beta, kstest

from cvd.data.augmentation.draws import Augmentation
from cvd.data.augmentation.mixing import Mix, describe_mix, is_mixing, mix_batch, sample_mix
from cvd.data.augmentation.patches import Patch

MIXUP, CUTMIX = replace(NOTHING, mixup_alpha=0.4), replace(NOTHING, cutmix_alpha=1.0)
BOTH = replace(MIXUP, cutmix_alpha=1.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 30, 40, 3), np.uint8)
LABELS = np.array([0, 1, 1, 0, 1, 0, 0], np.float32)[:, np.newaxis]
INDICES = np.array([5, 2, 2000, 17, 0, 1023, 1024])
NEXT = np.roll(np.arange(7), -1)


def sample(augmentation: Augmentation, *, epoch: int = 3, indices: np.ndarray = INDICES) -> list[Mix]:
    return [sample_mix(augmentation, epoch=epoch, index=int(k), height=30, width=40) for k in indices]


def test_mixup_is_keras_with_the_same_shares() -> None:
    images, labels = mix_batch(IMAGES, LABELS, MIXUP, epoch=3, indices=INDICES)
    own = np.array([1 - mix.share for mix in sample(MIXUP)], np.float32)
    transformation = {"mix_weight": own, "permutation_order": NEXT}
    layer = keras.layers.MixUp()
    theirs = np.asarray(layer.transform_images(IMAGES.astype(np.float32), transformation))
    assert np.abs(images - theirs).max() < 0.501  # rounded
    np.testing.assert_allclose(labels, layer.transform_labels(LABELS, transformation), atol=1e-6)
    assert images.dtype == np.uint8
    assert labels.dtype == np.float32


def test_cutmix_is_keras_with_the_same_patches() -> None:
    images, labels = mix_batch(IMAGES, LABELS, CUTMIX, epoch=3, indices=INDICES)
    masks = np.zeros(IMAGES.shape, bool)
    for mask, mix in zip(masks, sample(CUTMIX), strict=True):
        assert mix.patch is not None
        mask[mix.patch.slices] = True
    own = 1 - masks.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)  # the label follows the pixels
    transformation = {"batch_masks": masks, "mix_weight": own, "permutation_order": NEXT}
    layer = keras.layers.CutMix()
    np.testing.assert_array_equal(images, layer.transform_images(IMAGES, transformation))
    np.testing.assert_allclose(labels, layer.transform_labels(LABELS, transformation), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_beta(alpha: float) -> None:
    mixup = [mix.share for mix in sample(replace(NOTHING, mixup_alpha=alpha), indices=np.arange(3000))]
    assert kstest(mixup, beta(alpha, alpha).cdf).pvalue > 0.01
    patches = [sample_mix(replace(NOTHING, cutmix_alpha=alpha), epoch=0, index=k, height=500, width=500)
               for k in range(3000)]  # fmt: skip
    edges = np.linspace(0, 1, 11)
    found = np.histogram([mix.share for mix in patches], edges)[0] / 3000
    np.testing.assert_allclose(found, np.diff(beta(alpha, alpha).cdf(edges)), atol=0.03)
    tops = [mix.patch.top / (500 - mix.patch.height) for mix in patches if mix.patch and mix.patch.height < 300]
    assert kstest(tops, "uniform").statistic < 0.05


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 10.0])
def test_shares_of_any_alpha_are_numbers(alpha: float) -> None:
    for mix in sample(replace(NOTHING, mixup_alpha=alpha, cutmix_alpha=alpha), indices=np.arange(500)):
        assert 0 <= mix.share <= 1


def test_with_both_each_has_half_of_the_images_and_its_own_draws() -> None:
    both, mixup, cutmix = (sample(kind, indices=np.arange(1000)) for kind in (BOTH, MIXUP, CUTMIX))
    is_pasted = np.array([mix.patch is not None for mix in both])
    assert 430 <= is_pasted.sum() <= 570
    for pasted, mix, blend, paste in zip(is_pasted, both, mixup, cutmix, strict=True):
        assert mix == (paste if pasted else blend)


def test_one_image_or_two_of_a_class_keep_their_label() -> None:
    for kind in (MIXUP, CUTMIX):
        images, labels = mix_batch(IMAGES[:1], LABELS[1:2], kind, epoch=0, indices=INDICES[:1])
        np.testing.assert_array_equal(images, IMAGES[:1])
        assert labels.tolist() == [[1.0]]
        _, labels = mix_batch(IMAGES[:2], LABELS[1:3], kind, epoch=0, indices=INDICES[:2])
        assert labels.tolist() == [[1.0], [1.0]]


def test_each_mix_depends_on_seed_epoch_and_index_and_on_the_next_image() -> None:
    before = IMAGES.copy()
    images, labels = mix_batch(IMAGES, LABELS, BOTH, epoch=3, indices=INDICES)
    np.testing.assert_array_equal(IMAGES, before)
    pair, pair_labels = mix_batch(IMAGES[2:4], LABELS[2:4], BOTH, epoch=3, indices=INDICES[2:4])
    np.testing.assert_array_equal(pair[0], images[2])
    assert pair_labels[0] == labels[2]
    shares = {sample(kind, epoch=epoch)[0].share for kind in (MIXUP, replace(MIXUP, seed=2)) for epoch in (0, 1)}
    assert len(shares) == 4


def test_draws_do_not_move_from_one_version_to_the_next() -> None:
    assert sample(MIXUP)[0].share == pytest.approx(0.638468651, abs=1e-8)
    assert sample(CUTMIX)[0].patch == Patch(top=1, left=18, height=9, width=12)


def test_nothing_is_mixed_by_default_and_words_say_what_is() -> None:
    assert not is_mixing(NOTHING)
    assert is_mixing(MIXUP)
    assert is_mixing(CUTMIX)
    assert describe_mix(Mix(0.38, None), "cat.1.jpg") == ["38% blended from", "cat.1.jpg"]
    assert describe_mix(Mix(0.25, Patch(0, 0, 1, 1)), "cat.1.jpg") == ["25% pasted from", "cat.1.jpg"]
