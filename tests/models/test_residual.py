"""The residual network: its size, its interface, its gradients, and the layer that stands in for BatchNorm."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvd.models.networks.saving import save_model
from cvd.models.scratch.residual import FusedNormalization, build_residual
from cvd.vis.explaining.layers import choose_grad_cam_layers, list_layers

RNG = np.random.default_rng(13)
IMAGES = RNG.integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
LABELS = np.array([[0], [1], [1], [0]], np.float32)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras' own


def seeded_residual(**settings: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    defaults: dict[str, Any] = {"size_px": 40, "width": 4, "depth": 1, "dropout": 0.0}
    return build_residual(**{**defaults, **settings})


def take_gradients(model: keras.Model) -> tuple[np.ndarray, list[np.ndarray]]:
    with tf.GradientTape() as tape:
        logits = model(IMAGES, training=True)
        loss = tf.reduce_mean(keras.losses.binary_crossentropy(LABELS, logits, from_logits=True))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    return np.asarray(logits), [np.asarray(gradient) for gradient in gradients]


def count_by_hand(width: int, depth: int) -> int:
    """Weights of the stem, of each block's kernels and normalisations (four numbers a channel), of the end."""
    total, before = 75 * width, width
    for stage in range(5):
        after = width * 2**stage
        for block in range(depth):
            into = before if block == 0 else after
            total += into * after if block == 0 else 0  # the shortcut
            total += 4 * into + 9 * into + into * after + 4 * after + 9 * after + after * after
        before = after
    return total + 4 * before + before + 1


@pytest.mark.parametrize(("width", "depth"), [(4, 1), (8, 2), (32, 1)])
def test_parameters_are_those_of_a_count_by_hand(width: int, depth: int) -> None:
    model = build_residual(size_px=64, width=width, depth=depth, dropout=0.5)
    assert model.count_params() == count_by_hand(width, depth)


def test_parameters_are_the_books_and_those_of_the_last_normalisation() -> None:
    assert build_residual(size_px=180, width=32, depth=1, dropout=0.5).count_params() == 721_857 + 4 * 512


def test_sides_halve_and_filters_double() -> None:
    model = build_residual(size_px=150, width=32, depth=2, dropout=0.5)
    assert model.get_layer("stem").output.shape == (None, 75, 75, 32)
    ends = [model.get_layer(f"stage{stage}_block2_add").output.shape[1:] for stage in (1, 2, 3, 4, 5)]
    assert ends == [(38, 38, 32), (19, 19, 64), (10, 10, 128), (5, 5, 256), (3, 3, 512)]
    assert model.get_layer("pooled").output.shape == (None, 512)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("for_training", [False, True])
def test_it_takes_both_kinds_of_pixels_and_gives_float32(dtype: str, for_training: bool) -> None:
    model = seeded_residual(dtype=dtype, for_training=for_training)
    from_bytes, from_floats = model(IMAGES), model(IMAGES.astype(np.float32))
    assert (from_bytes.shape, from_bytes.dtype) == ((4, 1), "float32")
    np.testing.assert_array_equal(from_bytes, from_floats)


def test_rescaling_is_inside() -> None:
    model = seeded_residual()
    rescaled = keras.Model(model.get_layer("rescaling").output, model.output)
    np.testing.assert_allclose(model(IMAGES), rescaled(IMAGES / np.float32(127.5) - 1), rtol=1e-4, atol=1e-5)


def test_sizes_down_to_the_smallest() -> None:
    assert seeded_residual(size_px=32)(IMAGES[:, :32, :32]).shape == (4, 1)
    with pytest.raises(ValueError, match="size_px is 31: the residual network needs at least 32"):
        seeded_residual(size_px=31)


def test_initial_weights_do_not_depend_on_dropout_and_kind() -> None:
    plain = seeded_residual()
    for other in (seeded_residual(dropout=0.5), seeded_residual(dtype="mixed_bfloat16", for_training=True)):
        assert [weight.path for weight in plain.weights] == [weight.path for weight in other.weights]
        for one, another in zip(plain.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one, another)


def test_every_weight_gets_a_gradient() -> None:
    _, gradients = take_gradients(seeded_residual(depth=2))
    assert all(np.isfinite(gradient).all() and np.abs(gradient).max() > 0 for gradient in gradients)


def test_what_is_trained_computes_what_is_saved() -> None:
    """In float32: logits, gradients and the moving statistics of a step, and after it the inference."""
    plain, fused = seeded_residual(), seeded_residual(for_training=True)
    (logits, gradients), (fused_logits, fused_gradients) = take_gradients(plain), take_gradients(fused)
    np.testing.assert_allclose(fused_logits, logits, rtol=1e-3, atol=1e-4)
    for gradient, fused_gradient in zip(gradients, fused_gradients, strict=True):
        np.testing.assert_allclose(fused_gradient, gradient, rtol=1e-2, atol=1e-3 * np.abs(gradient).max() + 1e-6)
    for weight, fused_weight in zip(plain.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(fused_weight, weight, rtol=1e-4, atol=1e-5)
    plain.set_weights(fused.get_weights())
    np.testing.assert_allclose(fused(IMAGES), plain(IMAGES), rtol=1e-3, atol=1e-4)


def test_fused_normalization_by_hand() -> None:
    """Scale 2, offset 1: (x - mean) / sqrt(variance + epsilon) * 2 + 1, and a tenth of the way to the batch."""
    layer = FusedNormalization(momentum=0.9, epsilon=1e-3, name="norm")
    x = RNG.normal(3.0, 2.0, (2, 3, 5, 4)).astype(np.float32)
    layer.build(x.shape)
    layer.gamma.assign(np.full(4, 2.0))
    layer.beta.assign(np.ones(4))
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(layer(x), x / np.sqrt(1 + 1e-3) * 2 + 1, rtol=1e-5)  # statistics as they begin: 0 and 1
    expected = (x - mean) / np.sqrt(variance + 1e-3) * 2 + 1
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5)
    layer.trainable = False
    moving = np.asarray(layer.moving_mean)
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.moving_mean, moving)


def test_fused_normalization_keeps_half_precision_outside_and_float32_inside() -> None:
    """Its gradients are those of Keras' layer in float32, to the digits that half precision has."""
    x = RNG.normal(3.0, 2.0, (4, 6, 6, 5)).astype(np.float32)
    weights = RNG.normal(size=x.shape).astype(np.float32)
    results = []
    for layer, dtype in (
        (keras.layers.BatchNormalization(), tf.float32),
        (FusedNormalization(), tf.bfloat16),
    ):
        inputs = tf.constant(x, dtype)
        layer.build(x.shape)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            total = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
        assert outputs.dtype == dtype
        assert {weight.dtype for weight in layer.weights} == {"float32"}
        gradients = tape.gradient(total, [inputs, layer.gamma.value, layer.beta.value])
        results.append([outputs, *gradients])
    for expected, fused in zip(*results, strict=True):
        np.testing.assert_allclose(tf.cast(fused, tf.float32), expected, rtol=0.03, atol=0.03)


def test_saved_and_loaded_it_gives_the_same(tmp_path: Path) -> None:
    model = seeded_residual(dropout=0.5)
    save_model(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


def test_grad_cam_finds_the_features_that_are_pooled() -> None:
    model = seeded_residual(depth=2)
    assert list_layers(model)[-1] == "top_relu"
    assert choose_grad_cam_layers(model, None)[-1] in {"stage5_block2_add", "top_relu"}
