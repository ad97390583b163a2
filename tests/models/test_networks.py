"""The networks: their size, their interface, and what joins and parts them."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from cvd.models.networks import head as head_module
from cvd.models.networks import layers as layers_module
from cvd.models.networks.backbone import class_names
from cvd.models.scratch import plain as plain_module
from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import parse_params
from cvd.training.optimizers import OPTIMIZERS, Rate, make_schedule

RNG = np.random.default_rng(7)
IMAGES = RNG.integers(0, 256, (3, 50, 50, 3), dtype=np.uint8)


pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras' own


def seeded_plain(**arguments: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    return plain_module.build_plain(**{"size_px": 50, "dropout": 0.0, "width": 32, "depth": 4, **arguments})


def tiny_backbone(classes: bool = True, *, n_classes: int = 10) -> keras.Model:
    """A flat backbone with a depthwise convolution, BatchNorm and a classifier behind its features."""
    keras.utils.set_random_seed(5)
    pixels = keras.Input((20, 20, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(pixels)
    x = keras.layers.Conv2D(8, 3, strides=2, name="stem")(x)
    x = keras.layers.BatchNormalization(name="stem_bn", moving_variance_initializer="random_uniform")(x)
    x = keras.layers.ReLU(6.0, name="stem_relu")(x)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(pixels, keras.layers.Dense(n_classes, name="classes")(x) if classes else x, name="tiny")


def test_plain_has_the_textbooks_parameters() -> None:
    model = plain_module.build_plain(size_px=150, dropout=0.5, width=32, depth=4)
    assert model.count_params() == 3_453_121
    names = "pixels rescaling conv1 pool1 conv2 pool2 conv3 pool3 conv4 pool4 flatten dropout dense logit"
    assert " ".join(layer.name for layer in model.layers) == names
    assert model.get_layer("conv4").output.shape == (None, 15, 15, 128)


def test_plain_takes_both_kinds_of_pixels_and_gives_float32() -> None:
    for dtype in ("float32", "mixed_bfloat16"):
        model = seeded_plain(dtype=dtype)
        from_bytes, from_floats = model(IMAGES), model(IMAGES.astype(np.float32))
        assert (from_bytes.shape, from_bytes.dtype) == ((3, 1), "float32")
        np.testing.assert_array_equal(from_bytes, from_floats)
        np.testing.assert_array_equal(
            model.predict(IMAGES, verbose=0), model.predict(IMAGES.astype(np.float32), verbose=0)
        )


def test_rescaling_is_inside() -> None:
    model = seeded_plain()
    x = IMAGES.astype(np.float32) / 255
    for layer in model.layers[2:]:
        x = layer(x)
    np.testing.assert_allclose(model(IMAGES), x, rtol=1e-5, atol=1e-6)


def test_without_dropout_the_layer_is_absent_and_the_initial_weights_are_the_same() -> None:
    plain, dropped = seeded_plain(), seeded_plain(dropout=0.5)
    assert "dropout" not in [layer.name for layer in plain.layers]
    for one, other in zip(plain.get_weights(), dropped.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("depth", [5, 6, 7])
def test_params_know_the_smallest_size(depth: int) -> None:
    raw = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    raw["variants"]["small"]["depth"] = depth
    raw["image"]["size_px"] = plain_module.find_smallest_size(depth)
    parse_params(raw)
    raw["image"]["size_px"] -= 1
    with pytest.raises(InputError, match=rf"variants\.small\.depth is {depth}: .* {raw['image']['size_px'] + 1}, but"):
        parse_params(raw)


@pytest.mark.parametrize("size_px", [46, 64])
def test_smallest_sizes_work(size_px: int) -> None:
    assert plain_module.build_plain(size_px=size_px, dropout=0.0, width=32, depth=4).output_shape == (None, 1)


def test_too_small_a_size_is_refused() -> None:
    for size_px, depth, least in ((45, 4, 46), (93, 5, 94), (3, 1, 4)):
        with pytest.raises(
            InputError, match=f"size_px is {size_px}: the plain network of depth {depth} needs .* {least}$"
        ):
            plain_module.build_plain(size_px=size_px, dropout=0.0, depth=depth, width=32)
        assert plain_module.build_plain(size_px=least, dropout=0.0, depth=depth, width=1).output_shape == (None, 1)


@pytest.mark.parametrize("width", [4, 8, 64])
@pytest.mark.parametrize("depth", [3, 4, 5])
def test_plain_has_the_parameters_of_its_width_and_depth(width: int, depth: int) -> None:
    filters = [width, 2 * width, *[4 * width] * 3][:depth]
    side = 100
    for _ in filters:
        side = (side - 2) // 2
    expected = sum(9 * before * after + after for before, after in zip([3, *filters], filters, strict=False))
    expected += (side**2 * filters[-1] + 1) * 16 * width + 16 * width + 1
    trained = plain_module.build_plain(size_px=100, dropout=0.5, width=width, depth=depth, for_training=True)
    saved = plain_module.build_plain(size_px=100, dropout=0.5, width=width, depth=depth)
    assert trained.count_params() == saved.count_params() == expected


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_head_on_backbone_is_one_flat_graph(tmp_path: Path, classes: bool, dropout: float) -> None:
    backbone, head = tiny_backbone(classes), head_module.build_head(n_features=8, dropout=dropout)
    images = RNG.integers(0, 256, (3, 20, 20, 3)).astype(np.float32)
    features = keras.Model(backbone.input, backbone.get_layer("features").output)(images)
    model = head_module.attach_head(backbone, head)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert model.get_layer("depthwise").output.shape == (None, 9, 9, 8)
    np.testing.assert_allclose(model(images), head(features), rtol=1e-5, atol=1e-6)
    assert [weight.path for weight in model.trainable_weights] == ["logit/kernel", "logit/bias"]
    layers_module.describe_layers(head), layers_module.describe_layers(backbone)  # still whole
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))
    parted = head_module.split_head(loaded)
    np.testing.assert_array_equal(parted(features), head(features))
    np.testing.assert_array_equal(
        parted.predict(np.asarray(features), verbose=0), head.predict(np.asarray(features), verbose=0)
    )


def test_head_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the backbone has 8 features, the head takes 9"):
        head_module.attach_head(tiny_backbone(), head_module.build_head(n_features=9, dropout=0.5))


def test_table_tells_shapes_and_parameters() -> None:
    head = head_module.build_head(n_features=1280, dropout=0.5)
    assert layers_module.describe_layers(head) == [
        ("head_input", "InputLayer", (None, 1280), 0),
        ("head_dropout", "Dropout", (None, 1280), 0),
        ("logit", "Dense", (None, 1), 1281),
    ]
    assert layers_module.format_layers(head, title="head", description="Of 1,280 features.") == (
        "# head\n\nOf 1,280 features.\n\n"
        "| layer | type | output shape | parameters |\n|---|---|---|---:|\n"
        "| `head_input` | InputLayer | n x 1280 | 0 |\n"
        "| `head_dropout` | Dropout | n x 1280 | 0 |\n"
        "| `logit` | Dense | n x 1 | 1,281 |\n"
        "| **total** | | | **1,281** |\n| trained | | | 1,281 |\n| frozen | | | 0 |\n"
    )


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_the_network_that_is_trained_has_the_same_bits(dtype: str) -> None:
    models = [seeded_plain(dtype=dtype, for_training=is_trained) for is_trained in (False, True)]
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    labels = np.array([[0.0], [1.0], [1.0]], np.float32)
    results = []
    for model in models:
        with tf.GradientTape() as tape:
            logits = model(IMAGES, training=True)
            value = loss(labels, logits)
        gradients = tape.gradient(value, [weight.value for weight in model.trainable_weights])
        results.append([logits.numpy(), *(gradient.numpy() for gradient in gradients)])
    for before, after in zip(*results, strict=True):
        assert np.array_equal(before, after)
        assert np.any(before != 0)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_rectified_pooling_is_relu_and_pooling_where_values_tie_and_vanish(dtype: tf.DType) -> None:
    values = tf.constant(
        RNG.integers(-2, 3, (4, 9, 8, 5)), dtype
    )  # few values: windows of ties, of zeros, all negative
    upstream = tf.constant(RNG.integers(-3, 4, (4, 4, 4, 5)), dtype)

    def differentiate(pool: Callable[[tf.Tensor], tf.Tensor]) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            pooled = pool(values)
        gradient = tape.gradient(pooled, values, output_gradients=upstream)
        return [tf.cast(tensor, tf.float32).numpy() for tensor in (pooled, gradient)]

    fused = differentiate(plain_module.rectify_and_pool)
    expected = differentiate(lambda inputs: tf.nn.max_pool2d(tf.nn.relu(inputs), 2, 2, "VALID"))
    for one, other in zip(fused, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.any(fused[0] == 0)


def schedule(kind: str, peak: float, *, steps: int, warmup_fraction: float) -> Rate:
    variant = {"schedule": kind, "learning_rate": peak, "warmup_fraction": warmup_fraction}
    return make_schedule(variant, steps=steps)


@pytest.mark.parametrize(
    ("ours", "peer"),
    [
        (OPTIMIZERS["rmsprop"](1e-2, 0.0), keras.optimizers.RMSprop(1e-2)),
        (OPTIMIZERS["adamw"](1e-2, 0.3), keras.optimizers.AdamW(1e-2, weight_decay=0.3)),
        (OPTIMIZERS["adamw"](schedule("cosine", 1e-2, steps=9, warmup_fraction=0.3), 0.3),
         keras.optimizers.AdamW(schedule("cosine", 1e-2, steps=9, warmup_fraction=0.3), weight_decay=0.3)),
    ],
)  # fmt: skip
def test_fused_optimizers_step_as_keras_own(ours: keras.Optimizer, peer: keras.Optimizer) -> None:
    rows = RNG.normal(size=(6, 30)).astype(np.float32) * np.float32([[1], [1e-3], [0], [10], [1e-6], [1]])
    results = []
    for optimizer in (ours, peer):
        variable = keras.Variable(np.ones(30, np.float32), name="kernel")
        for gradient in rows:
            optimizer.apply([tf.constant(gradient)], [variable])
        results.append([variable.numpy(), *(state.numpy() for state in optimizer.variables)])
    for one, other in zip(*results, strict=True):  # the same state, too; 1 - 0.999 has few digits in float32
        np.testing.assert_allclose(one, other, rtol=5e-5, atol=1e-7)
    assert np.ptp(results[0][0]) > 0


def test_weight_decay_shrinks_kernels_alone() -> None:
    optimizer = OPTIMIZERS["adamw"](0.1, 0.5)
    variables = [keras.Variable(np.ones(1, np.float32), name=name) for name in ("kernel", "bias", "gamma", "beta")]
    optimizer.apply([tf.zeros(1)] * 4, variables)
    assert [float(variable[0]) for variable in variables] == [pytest.approx(1 - 0.1 * 0.5), 1, 1, 1]


def test_schedules_have_their_closed_forms() -> None:
    assert schedule("constant", 0.5, steps=10, warmup_fraction=0.0) == 0.5
    cosine = schedule("cosine", 2.0, steps=10, warmup_fraction=0.0)
    np.testing.assert_allclose([cosine(n) for n in range(11)], 1 + np.cos(np.pi * np.arange(11) / 10), atol=1e-6)
    rising = schedule("constant", 2.0, steps=10, warmup_fraction=0.3)
    np.testing.assert_allclose([rising(n) for n in range(10)], [0.5, 1.0, 1.5, *[2.0] * 7])
    both = schedule("cosine", 2.0, steps=10, warmup_fraction=0.2)
    assert float(both(0)) == pytest.approx(2 / 3)
    assert float(both(2)) == pytest.approx(2.0)
    assert float(both(6)) == pytest.approx(1.0)
    assert float(both(10)) == pytest.approx(0.0, abs=1e-6)


def test_classes_are_summed_to_one_logit(tmp_path: Path) -> None:
    backbone = tiny_backbone(classes=True, n_classes=1000)
    images = RNG.integers(0, 256, (3, 20, 20, 3)).astype(np.float32)
    model = head_module.sum_classes(backbone)
    probabilities = keras.ops.softmax(backbone(images)).numpy().astype(np.float64)
    expected = np.log(probabilities[:, 151:269].sum(axis=1) / probabilities[:, 281:286].sum(axis=1))
    np.testing.assert_allclose(model(images)[:, 0], expected, rtol=1e-4, atol=1e-5)
    assert not model.trainable_weights
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))
    features = keras.Model(backbone.input, backbone.get_layer("features").output)(images)
    np.testing.assert_allclose(head_module.split_head(loaded)(features), model(images), rtol=1e-6)


def test_dogs_and_cats_of_imagenet() -> None:
    names = class_names()
    dogs, cats = names[head_module.DOGS], names[head_module.CATS]
    assert (len(dogs), dogs[0], dogs[-1]) == (118, "Chihuahua", "Mexican hairless")
    assert (len(cats), cats[0], cats[-1]) == (5, "tabby", "Egyptian cat")


def test_backbone_without_classes_has_none_to_sum() -> None:
    with pytest.raises(ValueError, match="no ImageNet classes"):
        head_module.sum_classes(tiny_backbone(classes=False))
