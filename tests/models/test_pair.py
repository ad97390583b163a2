"""A backbone of two networks: one graph, their features side by side, the mean of their classes."""

from pathlib import Path

import keras
import numpy as np
import pytest

from cvd.data.examples.reading import Examples
from cvd.models.networks.backbone import save_backbone
from cvd.models.networks.finetuning import find_boundary
from cvd.models.networks.saving import load_network
from cvd.models.pretrained.lite import build_lite, is_lite, join_parts, name_parts
from cvd.training.transfer import build_classifier, load_start, plan_transfer
from cvd.vis.explaining.layers import choose_grad_cam_layers

NAME = "EfficientNetLite0+EfficientNetLite2"
IMAGES = np.random.default_rng(3).integers(0, 256, (6, 64, 64, 3), np.uint8)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras' own


@pytest.fixture(scope="module")
def parts() -> dict[str, keras.Model]:
    """Two networks, with weights that let something through."""
    keras.utils.set_random_seed(4)
    networks = {prefix: build_lite(name, 64, has_head=True) for name, prefix in name_parts(NAME).items()}
    rng = np.random.default_rng(5)
    for network in networks.values():
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.gamma.assign(rng.uniform(4, 8, layer.gamma.shape))
    return networks


@pytest.fixture(scope="module")
def folder(parts: dict[str, keras.Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pair = build_lite(NAME, 64, has_head=True)
    join_parts(pair, parts)
    path = tmp_path_factory.mktemp("pair") / "backbone"
    save_backbone(pair, path, name=NAME, weights="random", source="random")
    return path


def test_classes_are_the_mean_and_features_stand_side_by_side(folder: Path, parts: dict[str, keras.Model]) -> None:
    assert is_lite(NAME)
    pair = load_network(folder / "backbone.keras")
    assert not any(isinstance(layer, keras.Model) for layer in pair.layers)
    mean = sum(network(IMAGES).numpy() for network in parts.values()) / 2
    assert np.ptp(mean) > 1e-3
    np.testing.assert_allclose(pair(IMAGES), mean, rtol=1e-4, atol=1e-6)
    both = [keras.Model(network.input, network.get_layer("features").output)(IMAGES) for network in parts.values()]
    features = keras.Model(pair.input, pair.get_layer("features").output)(IMAGES)
    np.testing.assert_allclose(features, np.concatenate(both, axis=1), rtol=1e-4, atol=1e-6)
    assert choose_grad_cam_layers(pair, None)[-1] == "heads"


def test_last_blocks_of_both_learn_on_what_the_frozen_ones_give(folder: Path) -> None:
    examples = Examples(list("abcdef"), np.arange(6) % 2, lambda at: IMAGES[at], IMAGES.shape[1:], IMAGES.dtype)
    variant = {"head": "trained", "mirror": False, "pretrained": True, "unfreeze": 2, "augment": False, "dropout": 0.0}
    planned = plan_transfer(variant, folder, examples, examples, seed=1, threads=1)
    start = load_start(folder)
    boundary = find_boundary(start, 2)
    assert [tensor._keras_history.operation.name for tensor in boundary] == ["lite0_block_13_add", "lite2_block_18_add"]
    blocks = planned.build("float32")
    learning = {weight.path.split("/")[0] for weight in blocks.trainable_weights}
    assert {"lite0_block_14_expand", "lite2_block_19_expand", "lite0_head", "lite2_head", "logit"} <= learning
    assert not any("BN" in name or "block_13" in name or "block_18" in name for name in learning)
    whole = build_classifier(start, dropout=0.0, unfreeze=2)
    assert {weight.path for weight in whole.trainable_weights} == {weight.path for weight in blocks.trainable_weights}
    for weight in blocks.trainable_weights:
        weight.assign(weight + 0.01)
    model = planned.finish(blocks)
    inputs = planned.train.fetch(np.arange(6)).astype(np.float32)
    np.testing.assert_allclose(model(IMAGES), blocks(inputs), rtol=5e-3, atol=1e-3)
    assert not np.allclose(model(IMAGES), planned.finish(planned.build("float32"))(IMAGES), rtol=1e-2)


def test_three_networks_are_joined_as_two_are(parts: dict[str, keras.Model]) -> None:
    name = "EfficientNetLite0+EfficientNetLite1+EfficientNetLite2"
    keras.utils.set_random_seed(6)
    three = parts | {"lite1_": build_lite("EfficientNetLite1", 64, has_head=True)}
    three = {prefix: three[prefix] for prefix in name_parts(name).values()}
    joined = build_lite(name, 64, has_head=True)
    join_parts(joined, three)
    heads = [network.get_layer("classes").get_weights() for network in three.values()]
    kernel, bias = joined.get_layer("classes").get_weights()
    np.testing.assert_array_equal(kernel, np.concatenate([kernel for kernel, _ in heads]) / 3)
    np.testing.assert_allclose(bias, sum(bias for _, bias in heads) / 3, rtol=1e-6)
    for prefix, network in three.items():
        ours, theirs = joined.get_layer(f"{prefix}head"), network.get_layer("head")
        np.testing.assert_array_equal(ours.get_weights()[0], theirs.get_weights()[0])
    ends = [tensor._keras_history.operation.name for tensor in find_boundary(joined, 2)]
    assert ends == ["lite0_block_13_add", "lite1_block_18_add", "lite2_block_18_add"]
