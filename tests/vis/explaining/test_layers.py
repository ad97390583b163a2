"""Choosing and checking layers."""

import keras
import pytest

from cvd.runtime.errors import InputError
from cvd.vis.explaining import layers


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    stack = [keras.layers.Rescaling(1 / 255, name="rescaling")]
    for number in range(1, 5):
        stack += [
            keras.layers.Conv2D(4, 3, activation="relu", name=f"conv{number}"),
            keras.layers.MaxPooling2D(name=f"pool{number}"),
        ]
    stack += [keras.layers.Flatten(name="flatten"), keras.layers.Dense(1, name="logit")]
    inputs = output = keras.Input((64, 64, 3), name="pixels")
    for layer in stack:
        output = layer(output)
    return keras.Model(inputs, output, name="plain")


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    return keras.applications.MobileNetV2(input_shape=(65, 65, 3), alpha=0.35, weights=None, include_top=False)


def test_all_convolutions_and_poolings_are_chosen(plain: keras.Model, mobilenet: keras.Model) -> None:
    assert layers.choose_activation_layers(plain, None) == [
        f"{kind}{i}" for i in range(1, 5) for kind in ("conv", "pool")
    ]
    chosen = layers.choose_activation_layers(mobilenet, None)
    assert len(chosen) == 52
    assert {"block_3_depthwise_relu", "block_3_expand_relu", "block_3_project_BN"} < set(chosen)
    kinds = {type(mobilenet.get_layer(name)).__name__ for name in chosen}
    assert not kinds & {"Conv2D", "DepthwiseConv2D"}  # each is followed to what finishes it


def test_filters_of_every_plain_convolution_and_of_five_stages(plain: keras.Model, mobilenet: keras.Model) -> None:
    assert layers.choose_filter_layers(plain, None) == ["conv1", "conv2", "conv3", "conv4"]
    chosen = layers.choose_filter_layers(mobilenet, None)
    assert len(chosen) == 5
    assert chosen[0] == "Conv1_relu"
    assert chosen[-1] == "out_relu"


def test_grad_cam_takes_an_early_a_middle_and_the_last(plain: keras.Model, mobilenet: keras.Model) -> None:
    assert layers.choose_grad_cam_layers(plain, None) == ["conv2", "conv3", "conv4"]
    assert layers.choose_grad_cam_layers(mobilenet, None) == [
        "block_4_depthwise_relu",
        "block_10_depthwise_relu",
        "out_relu",
    ]


@pytest.mark.parametrize(
    ("start", "end"),
    [("block_4_project", "block_4_add"), ("block_1_project", "block_1_project_BN"), ("Conv_1", "out_relu")],
)
def test_a_convolution_is_followed_to_its_end(mobilenet: keras.Model, start: str, end: str) -> None:
    assert layers.follow_convolution(mobilenet, start) == end


def test_an_unknown_layer_is_named_with_those_that_exist(plain: keras.Model, mobilenet: keras.Model) -> None:
    with pytest.raises(InputError, match=r"layer 'conv9' is not in model 'plain': choose from .*conv4"):
        layers.choose_activation_layers(plain, ["conv1", "conv9"])
    with pytest.raises(InputError, match=r"'blok_4_add'.*did you mean block_4_add"):
        layers.check_layer(mobilenet, "blok_4_add")
    with pytest.raises(InputError, match="such as"):
        layers.check_layer(mobilenet, "zzz")


def test_a_layer_that_is_not_spatial_is_refused(plain: keras.Model) -> None:
    with pytest.raises(InputError, match=r"layer 'flatten' .* gives \(None, 16\), not \(n, h, w, k\)"):
        layers.choose_grad_cam_layers(plain, ["flatten"])


def test_a_model_without_convolution_is_refused() -> None:
    inputs = keras.Input((4,))
    with pytest.raises(InputError, match="has no convolution"):
        layers.choose_filter_layers(keras.Model(inputs, keras.layers.Dense(1)(inputs)), None)


@pytest.mark.parametrize(
    ("n_all", "n", "expected"), [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (7, 1, [0]), (4, 4, [0, 1, 2, 3])]
)
def test_spread_evenly(n_all: int, n: int, expected: list[int]) -> None:
    assert layers.choose_evenly(n_all, n) == expected


@pytest.mark.parametrize("n", range(2, 65))
def test_spread_indices_are_distinct(n: int) -> None:
    chosen = layers.choose_evenly(64, n)
    assert len(set(chosen)) == n
    assert (chosen[0], chosen[-1]) == (0, 63)


def test_depths_have_names() -> None:
    assert [layers.name_depths(n) for n in (1, 2)] == [[""], ["early", "late"]]
    assert layers.name_depths(4)[3] == "layer 4"


def test_a_shortcut_is_no_stage_of_its_own() -> None:
    """Nine convolutions on the way, and past the first two of each block one that only changes the shape (Xception)."""
    output = inputs = keras.Input((64, 64, 3))
    for number in range(1, 5):
        skipped = keras.layers.Conv2D(4 * number, 1, name=f"shortcut{number}")(output)
        for part in "ab":
            output = keras.layers.Conv2D(4 * number, 3, padding="same", name=f"conv{number}{part}")(output)
            output = keras.layers.ReLU(name=f"relu{number}{part}")(output)
        output = keras.layers.Add(name=f"sum{number}")([output, skipped])
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="last")(output))
    chosen = layers.choose_filter_layers(model, None)
    assert chosen[0] == "relu1a"
    assert chosen[-1] == "last"
    assert not any("shortcut" in name for name in chosen)


def test_the_middle_is_examined_behind_its_pooling(plain: keras.Model, mobilenet: keras.Model) -> None:
    assert layers.choose_examined_layers(plain) == ["pool3", "conv4"]
    assert layers.choose_examined_layers(mobilenet)[-1] == "out_relu"
