"""Real patches that excite filters most, and pictures that excite them at least as much."""

import keras
import numpy as np
import pytest

from cvd.vis.filters.ascent import ascend_filters
from cvd.vis.filters.patches import find_patches

SIDE, SIZE = 40, 24


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(5)
    inputs = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="rescaling")(inputs)
    x = keras.layers.MaxPooling2D(name="pool1")(keras.layers.Conv2D(6, 3, activation="relu", name="conv1")(x))
    return keras.Model(inputs, keras.layers.Conv2D(5, 3, activation="relu", name="conv2")(x), name="plain")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_no_other_patch_is_stronger(model: keras.Model, images: np.ndarray, layer: str) -> None:
    filters = [0, 3]
    found = find_patches(model, images, layers={layer: filters}, size_px=SIZE, n=3, at_once=2)[layer]
    cut = keras.Model(model.input, model.get_layer(layer).output)
    copy = keras.models.clone_model(cut, input_tensors=keras.Input((SIZE, SIZE, 3)))
    copy.set_weights(cut.get_weights())
    # Every window of every image, cut out and given to the network by itself: (n, y, x, k)
    step = 1 if layer == "conv1" else 2
    places = range(0, SIDE - SIZE + 1, step)
    crops = np.stack([images[:, y : y + SIZE, x : x + SIZE] for y in places for x in places]).astype(np.float32)
    means = np.stack([np.asarray(copy(crop))[..., filters].mean(axis=(1, 2)) for crop in crops])  # (places, n, k)
    for row in range(2):
        best = means[..., row].max(axis=0)  # of each image
        np.testing.assert_array_equal(found.images[row], np.argsort(-best)[:3])
        given = np.asarray(copy(found.pixels[row].astype(np.float32)))[..., filters[row]].mean(axis=(1, 2))
        np.testing.assert_allclose(given, np.sort(best)[::-1][:3], rtol=1e-4)


def test_a_patch_is_cut_where_it_says(model: keras.Model, images: np.ndarray) -> None:
    found = find_patches(model, images, layers={"conv2": [1]}, size_px=SIZE)["conv2"]
    for place, (y, x) in enumerate(found.corners[0]):
        image = images[found.images[0, place]]
        np.testing.assert_array_equal(found.pixels[0, place], image[y : y + SIZE, x : x + SIZE])


def test_whole_images_where_patches_are_as_large(model: keras.Model, images: np.ndarray) -> None:
    found = find_patches(model, images, layers={"conv1": [1]}, size_px=SIDE)["conv1"]
    assert not found.corners.any()
    np.testing.assert_array_equal(found.pixels[0], images[found.images[0]])


def test_pictures_excite_at_least_as_much_as_the_strongest_patch(model: keras.Model, images: np.ndarray) -> None:
    # One step from noise does not come far: the ascent has to begin again from the patch.
    filters = range(5)
    patches = find_patches(model, images, layers={"conv2": filters}, size_px=SIZE)["conv2"]
    settings = {"layer": "conv2", "filters": filters, "size_px": SIZE, "seed": 1, "patches": patches.pixels}
    for steps in (1, 2, 12):
        ascent = ascend_filters(model, steps=steps, **settings)
        assert (ascent.highest >= ascent.strongest[:, 0] * (1 - 1e-5)).all()
        assert (np.diff(ascent.strongest, axis=1) <= 0).all()
    plain = ascend_filters(model, steps=1, recipe="plain", **settings)
    assert (plain.starts == "noise").all()


def test_patches_are_ordered_as_they_were_measured(model: keras.Model, images: np.ndarray) -> None:
    patches = find_patches(model, images, layers={"conv2": [0, 1]}, size_px=SIZE)["conv2"]
    turned = patches.pixels[:, ::-1]
    settings = {"layer": "conv2", "filters": [0, 1], "size_px": SIZE, "seed": 1, "steps": 1}
    ascent = ascend_filters(model, patches=turned, **settings)
    np.testing.assert_array_equal(patches._replace(pixels=turned).order(ascent.ranks), patches.pixels)
