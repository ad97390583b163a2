"""Fine-tuning: what learns, what does not, and that BatchNorm keeps the statistics it came with."""

from pathlib import Path

import keras
import numpy as np
import pytest

from cvd.models.networks.finetuning import hash_frozen_weights, unfreeze_blocks
from cvd.models.networks.head import attach_head, build_head
from cvd.models.networks.saving import save_model
from cvd.models.pretrained.applications import build_graph
from cvd.models.pretrained.lite import build_lite

RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (6, 16, 16, 3)).astype(np.float32)
LABELS = np.array([[0], [1], [1], [0], [1], [0]], np.float32)
HEAD = ["logit"]
LAST = ["block_2_conv", "Conv_1"]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras' own


def tiny_classifier(dropout: float = 0.0) -> keras.Model:
    """A stem, two blocks and a last convolution, each with BatchNorm, and a head."""
    keras.utils.set_random_seed(5)
    pixels = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="preprocessing")(pixels)
    for name in ("stem", "block_1_conv", "block_2_conv", "Conv_1"):
        x = keras.layers.Conv2D(4, 3, padding="same", name=name)(x)
        variances = keras.initializers.RandomUniform(0.5, 1.5)
        x = keras.layers.BatchNormalization(name=f"{name}_bn", moving_variance_initializer=variances)(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return attach_head(keras.Model(pixels, x, name="tiny"), build_head(n_features=4, dropout=dropout))


def fine_tune(model: keras.Model, steps: int = 3) -> None:
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2), loss=keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False
    )
    for _ in range(steps):
        model.train_on_batch(IMAGES, LABELS)


def changed_weights(before: keras.Model, after: keras.Model) -> set[str]:
    pairs = zip(before.weights, after.weights, strict=True)
    return {after.path for before, after in pairs if not np.array_equal(before.numpy(), after.numpy())}


@pytest.mark.parametrize(
    ("n_blocks", "learning"), [(0, HEAD), (1, [*LAST, *HEAD]), (2, ["block_1_conv", *LAST, *HEAD])]
)
def test_the_last_blocks_learn_and_nothing_else(n_blocks: int, learning: list[str]) -> None:
    model, untouched = tiny_classifier(), tiny_classifier()
    assert unfreeze_blocks(model, n_blocks) == learning
    assert len(model.trainable_weights) == 2 * len(learning)
    before = hash_frozen_weights(model)
    fine_tune(model)
    assert hash_frozen_weights(model) == before
    assert changed_weights(untouched, model) == {f"{name}/{kind}" for name in learning for kind in ("kernel", "bias")}


def test_unfreezing_less_freezes_again() -> None:
    model = tiny_classifier()
    unfreeze_blocks(model, 2)
    assert unfreeze_blocks(model, 0) == HEAD


@pytest.mark.parametrize("n_blocks", [0, 2])
def test_training_computes_what_inference_does(n_blocks: int) -> None:
    """BatchNorm in training mode would normalise by the batch, and differ."""
    model = tiny_classifier()
    inference = np.asarray(model(IMAGES, training=False))
    unfreeze_blocks(model, n_blocks)
    np.testing.assert_allclose(model(IMAGES, training=True), inference, rtol=1e-5, atol=1e-6)
    model.get_layer("stem_bn").trainable = True
    assert np.abs(np.asarray(model(IMAGES, training=True)) - inference).max() > 1e-3


def test_the_hash_sees_a_frozen_weight_and_a_statistic_change() -> None:
    model = tiny_classifier()
    unfreeze_blocks(model, 1)
    hashes = {hash_frozen_weights(model)}
    for weight in (model.get_layer("stem").kernel, model.get_layer("Conv_1_bn").moving_mean):
        weight.assign(weight + 1e-6)
        hashes.add(hash_frozen_weights(model))
    assert len(hashes) == 3
    model.get_layer("Conv_1").kernel.assign(model.get_layer("Conv_1").kernel * 2)
    assert hash_frozen_weights(model) in hashes


def test_a_fine_tuned_model_is_saved_and_loaded(tmp_path: Path) -> None:
    model = tiny_classifier(dropout=0.5)
    unfreeze_blocks(model, 1)
    fine_tune(model)
    save_model(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


@pytest.mark.parametrize("n_blocks", [-1, 3])
def test_blocks_that_are_not_there_are_refused(n_blocks: int) -> None:
    with pytest.raises(ValueError, match=rf"n_blocks is {n_blocks}: model 'transfer' has 2 blocks"):
        unfreeze_blocks(tiny_classifier(), n_blocks)


def test_a_model_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="model 'head' has no layer 'features'"):
        unfreeze_blocks(build_head(n_features=4, dropout=0.0), 1)


def test_the_last_block_of_lite_has_the_convolution_behind_it() -> None:
    backbone = build_lite("EfficientNetLite0", 33, has_head=True)
    model = attach_head(backbone, build_head(n_features=1280, dropout=0.5))
    assert unfreeze_blocks(model, 1) == ["block_15_expand", "block_15_depthwise", "block_15_project", "head", "logit"]
    n_weights = 192 * 1152 + 9 * 1152 + 1152 * 320 + 320 * 1280 + 1280 + 1
    assert sum(weight.numpy().size for weight in model.trainable_weights) == n_weights
    with pytest.raises(ValueError, match="has 16 blocks"):
        unfreeze_blocks(model, 17)


@pytest.mark.parametrize(
    ("name", "n_blocks", "first"),
    [
        ("VGG16", 1, "block5_conv1"),
        ("VGG16", 5, "block1_conv1"),
        ("InceptionV3", 1, "conv2d_85"),
        ("MobileNetV2", 3, "block_14_expand"),
        ("EfficientNetV2B0", 3, "block6f_expand_conv"),
        ("EfficientNetV2B0", 21, "block1a_project_conv"),
    ],
)
def test_blocks_of_keras_own_networks(name: str, n_blocks: int, first: str) -> None:
    backbone = build_graph(name, 75, has_head=False)
    head = build_head(n_features=backbone.get_layer("features").output.shape[-1], dropout=0.0)
    assert unfreeze_blocks(attach_head(backbone, head), n_blocks)[0] == first
