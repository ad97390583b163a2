"""Grad-CAM against closed forms and finite differences, and awkward images."""

from pathlib import Path

import keras
import numpy as np
import pytest
from classifiers import SIDE, build_plain, draw_images

from cvd.models.networks.saving import load_network
from cvd.runtime.errors import InputError
from cvd.vis.explaining import cams, explainers, weighing
from cvd.vis.explaining import methods as explaining
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras' own


def build_pooled() -> keras.Model:
    """Convolution, global average pooling, one dense unit: the case with a closed form."""
    inputs = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Conv2D(5, 3, activation="relu", name="conv")(keras.layers.Rescaling(1 / 255)(inputs))
    pooled = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return draw_images()


@pytest.fixture(scope="module", autouse=True)
def _seed() -> None:
    keras.utils.set_random_seed(3)


@pytest.fixture(scope="module")
def plain(_seed: None) -> keras.Model:
    return build_plain()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_pooling_and_one_dense_unit_has_a_closed_form(images: np.ndarray, sign: int, method: str) -> None:
    # logit = b + sum_k v_k mean_ij(A_ijk), so its gradient by A_ijk is v_k / (h w) everywhere, and the map is
    # relu(sign * sum_k v_k A_ijk) / (h w).
    model = build_pooled()
    weights = model.get_layer("logit").get_weights()[0][:, 0]
    activations = np.asarray(keras.Model(model.input, model.get_layer("conv").output)(images), np.float64)
    expected = np.maximum(sign * activations @ weights, 0) / (31 * 31)
    maps = explaining.explain_images(model, images, layer="conv", sign=sign, method=method)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-8)


def test_plus_plus_of_one_dense_unit_has_a_closed_form(images: np.ndarray) -> None:
    # Gradient g_k = v_k / (h w) everywhere, so w_k = h w relu(g_k) / (2 + g_k sum_ij A_ijk).
    model = build_pooled()
    weights = model.get_layer("logit").get_weights()[0][:, 0].astype(np.float64)
    activations = np.asarray(keras.Model(model.input, model.get_layer("conv").output)(images), np.float64)
    alphas = 1 / (2 + weights / 961 * activations.sum(axis=(1, 2)))
    expected = np.maximum(np.einsum("nhwk,nk->nhw", activations, alphas * np.maximum(weights, 0)), 0)
    maps = explaining.explain_images(model, images, layer="conv", method="gradcam++")
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-7)


def test_weighing_by_hand() -> None:
    activations = np.array([[[[1.0, 2.0], [3.0, 0.0]]]])  # (1, 1, 2, 2)
    gradients = np.array([[[[1.0, -1.0], [3.0, 0.0]]]])
    # mean gradients 2 and -0.5: 1*2 - 2*0.5 = 1, 3*2 = 6
    np.testing.assert_allclose(weighing.combine_grad_cam(activations, gradients), [[[1, 6]]])
    np.testing.assert_allclose(weighing.combine_hires_cam(activations, gradients), [[[0, 9]]])
    # channel 0: sum(A) 4, alphas 1/6 and 1/14, weight 1/6 + 3/14; channel 1 has no positive gradient
    np.testing.assert_allclose(weighing.combine_grad_cam_plus_plus(activations, gradients), [[[8 / 21, 24 / 21]]])


def test_signs_per_image_are_those_of_single_calls(plain: keras.Model, images: np.ndarray) -> None:
    mixed = explaining.explain_images(plain, images, layer="conv2", sign=np.array([1, -1, 1]))
    for index, sign in enumerate((1, -1, 1)):
        alone = explaining.explain_images(plain, images[index : index + 1], layer="conv2", sign=sign)
        np.testing.assert_allclose(mixed[index], alone[0], rtol=1e-4, atol=1e-9)
    assert not np.allclose(mixed[0], explaining.explain_images(plain, images, layer="conv2", sign=-1)[0])


def gather(
    plain: keras.Model, images: np.ndarray, **settings: int
) -> tuple[np.ndarray, dict[str, explainers.Evidence]]:
    explainer = cams.GradCam(plain, ["conv1", "conv2"], **settings)
    return explainer.gather(images, np.ones((len(images), 1), np.float32))


def test_batches_change_nothing(plain: keras.Model, images: np.ndarray) -> None:
    (logits, parts), (others, whole) = gather(plain, images, batch_size=2), gather(plain, images)
    np.testing.assert_allclose(logits, others, rtol=1e-4)
    for layer in ("conv1", "conv2"):
        np.testing.assert_allclose(parts[layer][0], whole[layer][0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(parts[layer][1], whole[layer][1], rtol=1e-3, atol=1e-8)


def test_gradients_are_those_of_finite_differences(plain: keras.Model, images: np.ndarray) -> None:
    tail = keras.Model(plain.get_layer("conv2").output, plain.output)
    activations, gradients, _ = gather(plain, images[:1])[1]["conv2"]
    direction = np.random.default_rng(1).normal(size=activations.shape).astype(np.float32)
    step = 1e-3
    rise = tail(activations + step * direction) - tail(activations - step * direction)
    assert float(rise[0, 0]) / (2 * step) == pytest.approx(float((gradients * direction).sum()), rel=1e-2)


@pytest.mark.parametrize("value", [0, 255, 128])
@pytest.mark.parametrize("method", list(explaining.METHODS))
def test_flat_images_give_no_nan(plain: keras.Model, value: int, method: str) -> None:
    flat = np.full((1, SIDE, SIDE, 3), value, np.uint8)
    for sign in (1, -1):
        maps = explaining.explain_images(plain, flat, sign=sign, method=method)
        assert np.isfinite(maps).all()
        assert (maps >= 0).all()


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam"])
def test_no_evidence_is_an_empty_map(images: np.ndarray, method: str) -> None:
    model = build_pooled()
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([np.abs(kernel), bias])
    assert not explaining.explain_images(model, images, layer="conv", sign=-1, method=method).any()
    assert explaining.explain_images(model, images, layer="conv", sign=1, method=method).any()


def test_bytes_and_floats_give_the_same(plain: keras.Model, images: np.ndarray) -> None:
    pixels = images.astype(np.uint8)
    np.testing.assert_array_equal(
        explaining.explain_images(plain, pixels, layer="conv2"),
        explaining.explain_images(plain, pixels.astype(np.float32), layer="conv2"),
    )


def test_a_saved_model_gives_the_same(plain: keras.Model, images: np.ndarray, tmp_path: Path) -> None:
    plain.save(tmp_path / "plain.keras")
    loaded = load_network(tmp_path / "plain.keras")
    np.testing.assert_allclose(
        explaining.explain_images(loaded, images, layer="conv2"),
        explaining.explain_images(plain, images, layer="conv2"),
        rtol=1e-5,
    )


@pytest.mark.parametrize("activation", ["softmax", None])
def test_classes_of_many_are_explained_by_their_logits(images: np.ndarray, activation: str | None) -> None:
    model, linear = build_plain(units=4, activation=activation), build_plain(units=4)
    linear.set_weights(model.get_weights())
    classes = np.array([2, 0, 3])
    maps = explaining.explain_images(model, images, layer="conv2", class_index=classes)
    for index, number in enumerate(classes):
        alone = keras.Model(linear.input, linear.output[:, number : number + 1])
        expected = explaining.explain_images(alone, images[index : index + 1], layer="conv2")
        np.testing.assert_allclose(maps[index], expected[0], rtol=1e-4, atol=1e-8)


def test_a_sigmoid_is_left_out(images: np.ndarray) -> None:
    model, linear = build_plain(activation="sigmoid"), build_plain()
    linear.set_weights(model.get_weights())
    expected = explaining.explain_images(linear, images, layer="conv2")
    np.testing.assert_allclose(explaining.explain_images(model, images, layer="conv2"), expected, rtol=1e-4)
    np.testing.assert_allclose(compute_probabilities(make_scorer(model)(images)), np.asarray(model(images)), rtol=1e-4)


def test_probabilities_of_extreme_logits() -> None:
    np.testing.assert_allclose(compute_probabilities(np.array([[-1000.0], [0.0], [1000.0]])), [[0], [0.5], [1]])
    np.testing.assert_allclose(compute_probabilities(np.array([[1000.0, 1000.0]])), [[0.5, 0.5]])


def test_wrong_input_is_named(plain: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="layer 'conv7' is not in model 'plain'"):
        explaining.explain_images(plain, images, layer="conv7", sign=1)
    with pytest.raises(InputError, match="layer 'dense'"):
        explaining.explain_images(plain, images, layer="dense", sign=1)
    with pytest.raises(InputError, match="sign is 0"):
        explaining.explain_images(plain, images, layer="conv2", sign=0)
    with pytest.raises(InputError, match="method is 'cam'"):
        explaining.explain_images(plain, images, layer="conv2", method="cam")
    with pytest.raises(InputError, match=r"images of shape \(3, 20, 33, 3\)"):
        explaining.explain_images(plain, images[:, :20], layer="conv2")
    with pytest.raises(InputError, match="class_index is 1"):
        explaining.explain_images(plain, images, layer="conv2", class_index=1)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.keras does not exist"):
        load_network(tmp_path / "none.keras")
    (tmp_path / "bad.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"bad\.keras cannot be loaded"):
        load_network(tmp_path / "bad.keras")
