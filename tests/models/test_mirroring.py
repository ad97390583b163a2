"""A network that answers with the mean of an image's logit and its mirror's."""

from pathlib import Path

import keras
import numpy as np

from cvd.models.networks.folding import fold_normalisation
from cvd.models.networks.head import attach_head, build_head, split_head
from cvd.models.networks.mirroring import add_mirror, remove_mirror
from cvd.models.networks.saving import load_network, save_model
from cvd.models.pretrained.lite import build_lite
from cvd.vis.explaining.methods import explain_images
from cvd.vis.explaining.views import Viewer

IMAGES = np.random.default_rng(3).integers(0, 256, (5, 64, 64, 3), np.uint8)


def test_mean_of_image_and_mirror_survives_saving_and_is_taken_out_again(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    single = attach_head(build_lite("EfficientNetLite0", 64, has_head=False), build_head(n_features=1280, dropout=0.5))
    single.get_layer("logit").set_weights([np.full((1280, 1), 1e9, np.float32), np.float32([0.5])])
    save_model(add_mirror(single), tmp_path / "both.keras")
    both = load_network(tmp_path / "both.keras")
    assert (both.input_shape, both.output_shape) == (single.input_shape, single.output_shape)
    assert not any(isinstance(layer, keras.Model) for layer in both.layers)
    expected = (single(IMAGES) + single(IMAGES[:, :, ::-1])) / 2
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(both(IMAGES), expected, rtol=1e-5)
    np.testing.assert_array_equal(both(IMAGES.astype(np.float32)), both(IMAGES))
    folded = fold_normalisation(both)  # as it is evaluated
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    np.testing.assert_allclose(folded(IMAGES), expected, rtol=1e-3)

    inner = remove_mirror(both)
    assert [layer.name for layer in inner.layers] == [layer.name for layer in single.layers]
    np.testing.assert_allclose(inner(IMAGES), single(IMAGES), rtol=1e-5)
    assert split_head(inner).input_shape == (None, 1280)
    maps, expected_maps = (explain_images(model, IMAGES, layer="head_relu", sign=1) for model in (inner, single))
    np.testing.assert_array_equal(maps, expected_maps)
    assert remove_mirror(single) is single


def test_what_is_explained_is_named_by_the_network_that_answers() -> None:
    keras.utils.set_random_seed(1)
    single = attach_head(build_lite("EfficientNetLite0", 64, has_head=False), build_head(n_features=1280, dropout=0.0))
    single.get_layer("logit").set_weights([np.full((1280, 1), 1e9, np.float32), np.float32([0.5])])
    both = add_mirror(single)
    explained = remove_mirror(both)
    views = Viewer("best", explained, ["head_relu"], answering=both, labels=("cat", "dog")).view(IMAGES)
    expected = 1 / (1 + np.exp(-both(IMAGES).numpy()[:, 0]))
    np.testing.assert_allclose([view.probability for view in views], expected, rtol=1e-4)
    alone = Viewer("single", explained, ["head_relu"], labels=("cat", "dog")).view(IMAGES)
    np.testing.assert_array_equal(views[0].heats[0].map, alone[0].heats[0].map)
