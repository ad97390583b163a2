"""One matrix per image: against the steps one by one, and against Keras' ImageDataGenerator."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from augmentation_samples import MOVES as RANGES
from augmentation_samples import NOTHING, smooth_images
from scipy.ndimage import map_coordinates

from cvd.data.augmentation.geometry import Affine, describe_affine, make_affine, sample_affine, warp_image
from cvd.data.augmentation.images import augment_images

CASES = [
    {"rotation_degrees": 30.0},
    {"shift_x": 0.15, "shift_y": -0.1},
    {"shear_degrees": 20.0},
    {"zoom_x": 1.2, "zoom_y": 0.85},
    {"flip": True},
    {
        "rotation_degrees": -37.0,
        "shift_x": 0.2,
        "shift_y": 0.07,
        "shear_degrees": -11.5,
        "zoom_x": 0.8,
        "zoom_y": 1.1,
        "flip": True,
    },
]


def sample(index: int, *, epoch: int = 0, seed: int = 1, size: int = 64, **ranges: float) -> Affine:
    return sample_affine(replace(RANGES, seed=seed, **ranges), epoch=epoch, index=index, height=size, width=size)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 91)])
def test_matrix_is_the_steps_one_by_one(case: dict, height: int, width: int) -> None:
    affine = make_affine(**case, height=height, width=width)
    angle, slant = np.radians(affine.rotation_degrees), np.radians(affine.shear_degrees)
    to_centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shift = np.array([[1, 0, affine.shift_x * width], [0, 1, affine.shift_y * height], [0, 0, 1]])
    shear = np.array([[1, -np.sin(slant), 0], [0, np.cos(slant), 0], [0, 0, 1]])
    zoom = np.diag([affine.zoom_x, affine.zoom_y, 1])
    flip = np.diag([-1 if affine.flip else 1, 1, 1])
    expected = np.linalg.inv(to_centre) @ rotation @ shift @ shear @ zoom @ flip @ to_centre
    np.testing.assert_allclose(affine.matrix, expected[:2], atol=1e-10)


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")  # Keras' own
@pytest.mark.parametrize("case", CASES)
def test_geometry_is_image_data_generators(case: dict) -> None:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    image, size = smooth_images(1)[0], 64
    parameters = {
        "theta": case.get("rotation_degrees", 0),
        "tx": case.get("shift_x", 0) * size,
        "ty": case.get("shift_y", 0) * size,
        "shear": case.get("shear_degrees", 0),
        "zx": case.get("zoom_x", 1),
        "zy": case.get("zoom_y", 1),
        "flip_horizontal": case.get("flip", False),
    }
    theirs = ImageDataGenerator(fill_mode="nearest").apply_transform(image.astype(np.float32), parameters)
    ours = warp_image(image, make_affine(**case, height=size, width=size).matrix)
    assert np.abs(ours - theirs).max() <= 0.51  # both are bilinear; ours rounds to whole numbers


@pytest.mark.parametrize("case", CASES)
def test_warp_is_bilinear_with_the_nearest_fill(case: dict) -> None:
    image = np.random.default_rng(1).integers(0, 256, (33, 48, 3), dtype=np.uint8)
    matrix = make_affine(**case, height=33, width=48).matrix
    x, y = np.meshgrid(np.arange(48), np.arange(33))
    from_x, from_y = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y, np.ones_like(x)]))
    expected = [
        map_coordinates(image[..., k].astype(float), [from_y, from_x], order=1, mode="nearest") for k in range(3)
    ]
    assert np.abs(warp_image(image, matrix) - np.stack(expected, axis=-1)).max() <= 0.52


@pytest.mark.parametrize("shape", [(150, 150, 3), (161, 161, 3), (33, 48, 3)])
def test_warp_is_opencvs_to_the_bit(shape: tuple[int, int, int]) -> None:
    for index in range(50):
        image = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
        matrix = sample_affine(replace(RANGES, seed=3), epoch=0, index=index, height=shape[0], width=shape[1]).matrix
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        expected = cv2.warpAffine(image, matrix, shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        np.testing.assert_array_equal(warp_image(image, matrix), expected)


def test_directions_are_as_described() -> None:
    def brightest(**values: float) -> np.ndarray:
        """How far a spot right of the centre moves, (right, down)."""
        image = np.zeros((101, 101, 3), np.uint8)
        image[50, 80] = 255
        image = cv2.GaussianBlur(image, (0, 0), 1.5)
        result = warp_image(image, make_affine(**values, height=101, width=101).matrix)[..., 0]
        return np.array(np.unravel_index(result.argmax(), result.shape))[::-1] - (80, 50)

    assert brightest(rotation_degrees=30)[1] < 0  # counter-clockwise: the right side goes up
    assert tuple(brightest(shift_x=0.1, shift_y=-0.1)) == (-10, 10)
    assert brightest(zoom_x=1.5)[0] < 0  # narrower: towards the centre
    assert tuple(brightest(flip=True)) == (-60, 0)


def test_nothing_asked_is_nothing_done() -> None:
    images = np.random.default_rng(2).integers(0, 256, (5, 50, 70, 3), dtype=np.uint8)
    result = augment_images(images, NOTHING, epoch=3, indices=np.arange(5))
    np.testing.assert_array_equal(result, images)
    assert not np.shares_memory(result, images)


def test_flip_alone_mirrors_half_exactly() -> None:
    images = np.random.default_rng(3).integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    result = augment_images(images, replace(NOTHING, horizontal_flip=True), epoch=0, indices=np.arange(400))
    is_same = (result == images).all(axis=(1, 2, 3))
    is_mirrored = (result == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (is_same ^ is_mirrored).all()
    assert 160 <= is_mirrored.sum() <= 240  # four standard deviations


def test_an_images_result_depends_on_seed_epoch_and_index_alone() -> None:
    images, indices = smooth_images(12), np.array([3, 7, 11, 2000, 0, 1, 5, 1024, 1023, 9, 25_000, 4])
    together = augment_images(images, RANGES, epoch=2, indices=indices)
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(
        augment_images(images[order], RANGES, epoch=2, indices=indices[order]), together[order]
    )
    for k in range(12):
        alone = augment_images(images[k : k + 1], RANGES, epoch=2, indices=indices[k : k + 1])
        np.testing.assert_array_equal(alone[0], together[k])


def test_another_seed_epoch_or_index_gives_another_draw() -> None:
    draws = [sample(0), sample(1), sample(1024), sample(0, epoch=1), sample(0, seed=2), sample(1, seed=0)]
    assert len({draw.rotation_degrees for draw in draws}) == len(draws)


def test_draws_do_not_move_from_one_version_to_the_next() -> None:
    draw = sample(3, epoch=2)
    values = (draw.rotation_degrees, draw.shift_x, draw.shift_y, draw.shear_degrees, draw.zoom_x, draw.zoom_y)
    expected = (-38.917886729, 0.161937903, -0.028618543, -3.658386428, 0.937597029, 1.189950058)
    assert values == pytest.approx(expected, abs=1e-8)
    assert draw.flip is False


def test_a_range_changes_its_own_value_only() -> None:
    wide, narrow = sample(5), sample(5, rotation_degrees=15)
    assert narrow.rotation_degrees == pytest.approx(wide.rotation_degrees * 15 / 40)
    for name in ("shift_x", "shift_y", "shear_degrees", "zoom_x", "zoom_y", "flip"):
        assert getattr(narrow, name) == getattr(wide, name)


def test_samples_fill_their_ranges_evenly() -> None:
    draws = [sample(index) for index in range(3000)]

    def check(value: Callable[[Affine], float], middle: float, reach: float) -> None:
        shares = np.histogram([value(draw) for draw in draws], bins=5, range=(middle - reach, middle + reach))[0] / 3000
        assert shares.sum() == pytest.approx(1)  # none outside
        np.testing.assert_allclose(shares, 0.2, atol=0.035)

    check(lambda draw: draw.rotation_degrees, 0, 40)
    check(lambda draw: draw.shift_x, 0, 0.2)
    check(lambda draw: draw.shift_y, 0, 0.2)
    check(lambda draw: draw.shear_degrees, 0, 11.5)
    check(lambda draw: draw.zoom_x, 1, 0.2)
    check(lambda draw: draw.zoom_y, 1, 0.2)
    values = np.array(
        [[d.rotation_degrees, d.shift_x, d.shift_y, d.shear_degrees, d.zoom_x, d.zoom_y, d.flip] for d in draws]
    )
    correlations = np.corrcoef(values.T) - np.eye(7)
    assert np.abs(correlations).max() < 0.08  # drawn independently


def test_augment_applies_what_sample_says() -> None:
    image = smooth_images(1)
    result = augment_images(image, replace(RANGES, seed=4), epoch=6, indices=np.array([77]))
    expected = warp_image(image[0], sample(77, epoch=6, seed=4).matrix)
    np.testing.assert_array_equal(result[0], expected)


def test_threads_do_not_change_the_result() -> None:
    images, before = smooth_images(4, 150, 150), cv2.getNumThreads()
    results = []
    for n_threads in (1, 2):
        cv2.setNumThreads(n_threads)
        results.append(augment_images(images, RANGES, epoch=0, indices=np.arange(4)))
    cv2.setNumThreads(before)
    np.testing.assert_array_equal(*results)


def test_describe_names_what_is_seen() -> None:
    everything = make_affine(
        rotation_degrees=-32, shift_x=0.1, shift_y=0.004, shear_degrees=5, zoom_x=0.8, zoom_y=1.25, height=9, width=9
    )
    assert describe_affine(everything) == ["turned −32°", "shifted −10%, +0%", "sheared +5°", "scaled ×1.25, ×0.80"]
    mirrored = make_affine(rotation_degrees=32, shift_x=0.1, flip=True, height=9, width=9)
    assert describe_affine(mirrored) == ["mirrored", "turned −32°", "shifted +10%, +0%"]
    assert describe_affine(make_affine(height=9, width=9)) == []


def test_mirrored_first_is_the_same_as_described() -> None:
    flipped = make_affine(
        rotation_degrees=32, shift_x=0.1, shift_y=0.2, shear_degrees=7, flip=True, height=64, width=64
    )
    seen = make_affine(rotation_degrees=-32, shift_x=-0.1, shift_y=0.2, shear_degrees=-7, height=64, width=64)
    image = smooth_images(1)[0]
    mirrored = np.ascontiguousarray(image[:, ::-1])
    assert np.abs(warp_image(image, flipped.matrix).astype(int) - warp_image(mirrored, seen.matrix)).max() <= 1
