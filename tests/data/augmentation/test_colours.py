"""One colour matrix: against Keras' layers, Pillow's enhancers and the steps one by one."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from augmentation_samples import MOVES, NOTHING, smooth_images
from PIL import Image, ImageEnhance

from cvd.data.augmentation.colours import LUMA, Colours, change_colours, describe_colours, make_matrix, sample_colours

JITTER = replace(NOTHING, brightness_fraction=0.2, contrast_fraction=0.4, saturation_fraction=0.6)
CASES = [
    Colours(brightness=0.1),
    Colours(brightness=-0.15),
    Colours(contrast=0.6),
    Colours(contrast=1.3),
    Colours(saturation=0.0),
    Colours(saturation=0.4),
    Colours(brightness=0.05, contrast=0.8, saturation=0.3),
]


def middling_image() -> np.ndarray:
    """Colours far enough from 0 and 255 that no step is cut off: Keras cuts after each one."""
    return (64 + smooth_images(1)[0] // 2).astype(np.uint8)


def change(image: np.ndarray, colours: Colours) -> np.ndarray:
    result = image.copy()
    change_colours(result, colours)
    return result


@pytest.mark.parametrize("colours", CASES)
def test_colours_are_those_of_keras_layers(colours: Colours) -> None:
    image = middling_image()
    grey = 1 - colours.saturation
    steps = [
        (keras.layers.RandomBrightness(0.5), {"rgb_delta": np.float32(255 * colours.brightness)}),
        (keras.layers.RandomContrast(0.5), {"contrast_factor": np.float32(colours.contrast)}),
        (keras.layers.RandomColorDegeneration((0, 1)), {"factor": np.float32(grey)}),
    ]
    theirs = image[np.newaxis].astype(np.float32)
    for layer, transformation in steps:
        theirs = np.asarray(layer.transform_images(theirs, transformation))
    assert 0 < theirs.min() < theirs.max() < 255
    assert np.abs(change(image, colours) - theirs[0]).max() < 1.25  # rounded, by a matrix in steps of 1/1024


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.6])
def test_saturation_is_pillows(factor: float) -> None:
    image = middling_image()
    theirs = np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(factor))
    assert np.abs(change(image, Colours(saturation=factor)).astype(int) - theirs).max() <= 1


def test_matrix_is_the_steps_one_by_one() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (100, 3))
    colours = Colours(0.3, 1.7, 1.4)
    brighter = pixels + 255 * colours.brightness
    stronger = (brighter - brighter.mean(axis=0)) * colours.contrast + brighter.mean(axis=0)
    grey = stronger @ LUMA[:, np.newaxis]
    expected = colours.saturation * stronger + (1 - colours.saturation) * grey
    matrix = make_matrix(colours, pixels.mean(axis=0))
    np.testing.assert_allclose(np.column_stack([pixels, np.ones(100)]) @ matrix.T, expected, atol=1e-9)


def test_what_leaves_the_range_is_cut_off() -> None:
    image = np.array([[[0, 100, 250]]], np.uint8)
    np.testing.assert_array_equal(change(image, Colours(brightness=0.2)), [[[51, 151, 255]]])
    np.testing.assert_array_equal(change(image, Colours(brightness=-0.6)), [[[0, 0, 97]]])


def test_grey_stays_grey_whatever_its_saturation() -> None:
    image = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert np.abs(change(image, Colours(saturation=0.3)).astype(int) - image).max() <= 1


def test_samples_fill_their_ranges_independently() -> None:
    draws = [sample_colours(JITTER, epoch=0, index=index) for index in range(3000)]
    values = np.array([[draw.brightness, draw.contrast, draw.saturation] for draw in draws])
    for column, middle, reach in zip(values.T, (0, 1, 1), (0.2, 0.4, 0.6), strict=True):
        counts = np.histogram(column, bins=5, range=(middle - reach, middle + reach))[0]
        assert counts.sum() == 3000  # none outside
        np.testing.assert_allclose(counts / 3000, 0.2, atol=0.035)
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.08


def test_a_range_changes_its_own_value_only() -> None:
    wide = sample_colours(JITTER, epoch=2, index=7)
    narrow = sample_colours(replace(JITTER, contrast_fraction=0.1), epoch=2, index=7)
    assert narrow.contrast - 1 == pytest.approx((wide.contrast - 1) / 4)
    assert (narrow.brightness, narrow.saturation) == (wide.brightness, wide.saturation)
    assert sample_colours(MOVES, epoch=2, index=7) == Colours()


def test_described_in_order() -> None:
    assert describe_colours(Colours(-0.12, 1.154, 0.8)) == ["brightness −12%", "contrast ×1.15", "saturation ×0.80"]
    assert describe_colours(Colours()) == []
