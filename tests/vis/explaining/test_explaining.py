"""One interface for every method: any classifier, any image, no NaN."""

import re
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from classifiers import SIDE, build, draw_images
from PIL import ExifTags, Image

from cvd.commands import explain as command
from cvd.models.scratch.plain import build_plain
from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import CHOICES, METHODS
from cvd.vis.explaining import explainers, weighing
from cvd.vis.explaining import methods as explaining
from cvd.vis.explaining.geometry import Axis, locate_cells
from cvd.vis.explaining.graphs import make_scorer

ROOT = Path(__file__).parents[3]
LAYERED = [name for name, method in explaining.METHODS.items() if method.has_layers]
# Smallest sides that Keras' own networks take, and one that is odd; random weights.
NETWORKS = {"MobileNetV2": 45, "VGG16": 47, "InceptionV3": 77, "Xception": 73}


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return build("plain")


@pytest.mark.parametrize("name", NETWORKS)
def test_keras_own_networks_are_explained(name: str) -> None:
    keras.utils.set_random_seed(1)
    side = NETWORKS[name]
    model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=5)
    (layer,) = explaining.choose_layers(model, None, method="gradcam")[-1:]
    assert layer == {"MobileNetV2": "out_relu", "VGG16": "block5_conv3", "InceptionV3": "mixed10"}.get(
        name, "block14_sepconv2_act"
    )
    images = np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype(np.float32)
    maps = explaining.explain_images(model, images, class_index=np.array([4, 0]))
    assert maps.shape == (2, *model.get_layer(layer).output.shape[1:3])
    assert np.isfinite(maps).all()
    assert (maps >= 0).all()


@pytest.mark.parametrize("where", ["docs/predict.md", "cvd/vis/explaining/methods.py"])
def test_the_documented_examples_run(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / where).read_text(encoding="utf-8")
    if where == "docs/predict.md":
        blocks = re.findall(r"```python\n(.*?)```", text, re.S)
        (code,) = (block for block in blocks if "explain_images(" in block)
    else:
        lines = text.split("A new method")[0].splitlines(keepends=True)
        code = textwrap.dedent("".join(line for line in lines if line.startswith("    ")))
    code = code.replace("MobileNetV2()", "MobileNetV2(weights=None)")  # no download
    monkeypatch.chdir(tmp_path)
    # A phone's photo: stored lying, and a note that it is to be turned clockwise.
    stored = np.zeros((60, 90, 3), np.uint8)
    stored[:, :45, 0] = stored[:30, :, 1] = 200
    lying = Image.fromarray(stored)
    exif = lying.getexif()
    exif[ExifTags.Base.Orientation] = 6
    Path("photos").mkdir()
    for path in ("photo.jpg", "photos/mine.jpg"):
        lying.save(path, quality=95, exif=exif)
    Path("models").mkdir()
    build_plain(size_px=150, dropout=0.0, width=32, depth=4).save("models/augmented.keras")
    names: dict[str, Any] = {}
    exec(code, names)
    upright = np.rot90(stored, -1)
    assert names["photo"].shape == upright.shape == np.asarray(Image.open("seen.png")).shape
    assert np.abs(names["photo"].astype(int) - upright).mean() < 3


def test_the_documented_lines_are_grad_cam_and_hires_cam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/seeing.md").read_text(encoding="utf-8")
    grad_cam, hires_cam = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    for folder in ("models", "photos"):
        Path(folder).mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)).save("photos/mine.jpg")
    keras.utils.set_random_seed(1)
    build_plain(size_px=150, dropout=0.5, width=32, depth=4).save("models/baseline.keras")
    names: dict[str, Any] = {}
    for method, code in {"gradcam": grad_cam, "hirescam": hires_cam}.items():
        exec(code, names)
        expected = explaining.explain_images(names["model"], names["images"], layer="conv4", method=method)
        assert expected.max() > 0
        np.testing.assert_allclose(names["maps"], expected, rtol=1e-4, atol=1e-7)
    assert np.asarray(Image.open("seen.png")).shape == (90, 60, 3)
    assert re.findall(r"^(\d+)\. ", text, re.M) == re.findall(r"# (\d+)$", grad_cam, re.M)


def test_the_documented_windows_are_those_of_the_cells() -> None:
    text = (ROOT / "docs/seeing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(conv\d)` \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \|$", text, re.M)
    model = build_plain(size_px=150, dropout=0.0, width=32, depth=4)
    assert [row[0] for row in rows] == [f"conv{number}" for number in range(1, 5)]
    pixels = tf.constant(np.random.default_rng(0).uniform(0, 255, (8, 150, 150, 3)).astype(np.float32))
    for layer, *given in rows:
        n_cells, stride_px, window_px, middle_px = map(float, given)
        output = model.get_layer(layer).output
        assert locate_cells(model, layer) == (Axis(middle_px, stride_px),) * 2
        assert output.shape[1:3] == (n_cells, n_cells)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            cells = keras.Model(model.inputs[0], output)(pixels)[:, 0, 0]
        seen = np.abs(tape.gradient(cells, pixels)).max(axis=(0, 3)) > 0  # (150, 150)
        assert seen.any(axis=0).sum() == seen.any(axis=1).sum() == window_px


@pytest.mark.parametrize("is_inside", [False, True])
@pytest.mark.parametrize("method", explaining.METHODS)
def test_channels_first_are_refused(method: str, is_inside: bool) -> None:
    inputs = keras.Input((3, 9, 9))
    x = keras.layers.Conv2D(3, 3, name="conv", data_format="channels_first")(inputs)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x), name="first")
    if is_inside:
        outer = keras.Input((3, 9, 9))
        model = keras.Model(outer, model(outer))
    with pytest.raises(InputError, match="layer 'conv' of model 'first' has its channels first"):
        explaining.make_explainer(model, ["conv"], method=method)


@pytest.mark.parametrize("method", explaining.METHODS)
def test_a_layer_that_only_flattens_may_read_channels_first(method: str) -> None:
    inputs = keras.Input((9, 9, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.Flatten(data_format="channels_first")(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    maps = explaining.explain_images(model, np.full((1, 9, 9, 3), 128, np.uint8), method=method)
    assert maps.shape == ((1, 9, 9) if method == "integrated" else (1, 7, 7))


@pytest.mark.parametrize("method", explaining.METHODS)
@pytest.mark.parametrize("shape", [(8, 8), (40, 260)])
def test_any_size(method: str, shape: tuple[int, int]) -> None:
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(3, 3, activation="relu", name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    images = np.full((1, *shape, 3), 128, np.uint8)
    images[:, : shape[0] // 2] = 255
    maps = explaining.explain_images(model, images, method=method, class_index=1)
    assert maps.shape == ((1, *shape) if method == "integrated" else (1, shape[0] - 2, shape[1] - 2))
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("method", explaining.METHODS)
def test_two_signs_are_two_single_calls(plain: keras.Model, method: str) -> None:
    layers = explaining.choose_layers(plain, None, method=method)
    both = explaining.make_explainer(plain, layers, method=method)(draw_images(), (1, -1))
    for sign, maps in zip((1, -1), both, strict=True):
        assert list(maps) == layers
        alone = explaining.explain_images(plain, draw_images(), layer=layers[-1], sign=sign, method=method)
        np.testing.assert_allclose(maps[layers[-1]], alone, rtol=1e-5, atol=1e-8)
    assert not np.allclose(both[0][layers[-1]], both[1][layers[-1]])


@pytest.mark.parametrize("method", explaining.METHODS)
def test_logits_come_with_the_maps(plain: keras.Model, method: str) -> None:
    layers = explaining.choose_layers(plain, None, method=method)
    logits, _ = explaining.make_explainer(plain, layers, method=method).explain(draw_images(), [1])
    np.testing.assert_allclose(logits, np.asarray(plain(draw_images())), rtol=1e-4, atol=1e-5)


def test_an_attribution_adds_up_to_the_change_of_the_logit(plain: keras.Model) -> None:
    # Completeness (Sundararajan et al. 2017, proposition 1).
    explainer = explainers.IntegratedGradients(plain)
    explainer.start, explainer.steps = 20.0, 200
    logits, evidence = explainer.gather(draw_images(), np.ones((3, 1), np.float32))
    differences, gradients = evidence["pixels"]
    change = logits[:, 0] - make_scorer(plain)(np.full((1, SIDE, SIDE, 3), 20.0))[0, 0]
    np.testing.assert_allclose((differences * gradients).sum(axis=(1, 2, 3)), change, rtol=2e-2)


def test_a_linear_model_s_attribution_is_weight_times_pixel() -> None:
    inputs = keras.Input((4, 5, 3))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
    weights = model.layers[-1].get_weights()[0].reshape(4, 5, 3)
    images = np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 3)).astype(np.float32)
    expected = np.maximum((images * weights).sum(axis=-1), 0)
    np.testing.assert_allclose(explaining.explain_images(model, images, method="integrated"), expected, rtol=1e-3)


def test_masks_let_through_what_a_channel_answers_to() -> None:
    # One channel that copies red: the mask of an image with a red corner is that corner.
    inputs = keras.Input((6, 6, 3))
    convolution = keras.layers.Conv2D(1, 1, name="conv")
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(convolution(inputs)))
    convolution.set_weights([np.array([1, 0, 0], np.float32).reshape(1, 1, 3, 1), np.zeros(1, np.float32)])
    image = np.full((1, 6, 6, 3), 60, np.uint8)
    image[0, :3, :3, 0] = 240
    explainer = explainers.ScoreCam(model, ["conv"])
    _, evidence = explainer.gather(image.astype(np.float32), np.ones((1, 1), np.float32))
    activations, probabilities = evidence["conv"]
    np.testing.assert_allclose(activations[..., 0], image[..., 0])
    np.testing.assert_allclose(probabilities[0, 0], 1 / (1 + np.exp(-240 * 9 / 36)), rtol=1e-5)


def test_masks_are_stretched_each_by_itself_and_flat_ones_are_empty() -> None:
    masks = np.array([[[1.0, 3.0]], [[7.0, 7.0]]])
    np.testing.assert_array_equal(weighing.scale_masks(masks), [[[0, 1]], [[0, 0]]])


def test_convolutions_inside_another_model() -> None:
    base = keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Conv2D(4, 3, activation="relu")], name="base")
    inputs = keras.Input((12, 12, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(base(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(pooled))
    assert explaining.choose_layers(model, None, method="gradcam") == ["base"]
    assert explaining.explain_images(model, np.full((1, 12, 12, 3), 9, np.uint8)).shape == (1, 10, 10)


def test_the_same_methods_everywhere() -> None:
    assert tuple(explaining.METHODS) == tuple(explaining.NOTES)
    assert tuple(explaining.METHODS) == METHODS
    assert command.CHOICES == CHOICES == ("auto", *METHODS)


def test_a_method_by_pixels_is_at_no_layer() -> None:
    assert explaining.METHODS["gradcam"].describe("conv4") == "Grad-CAM at conv4"
    assert explaining.METHODS["integrated"].describe("pixels") == "Integrated gradients"


def test_wrong_methods_are_named(plain: keras.Model) -> None:
    with pytest.raises(InputError, match=r"method is 'cam': choose from auto, gradcam, "):
        explaining.make_explainer(plain, ["conv2"], method="cam")
    with pytest.raises(InputError, match=r"method 'integrated' explains by the pixels, not by layer 'conv2'"):
        explaining.explain_images(plain, draw_images(), layer="conv2", method="integrated")
    with pytest.raises(InputError, match="sign is 0"):
        explaining.make_explainer(plain, ["conv2"])(draw_images(), [1, 0])


@pytest.mark.parametrize("method", LAYERED)
def test_images_do_not_mix(plain: keras.Model, method: str) -> None:
    images = np.concatenate([draw_images(), np.zeros((1, SIDE, SIDE, 3), np.float32)])
    together = explaining.explain_images(plain, images, method=method)
    alone = explaining.explain_images(plain, images[1:2], method=method)
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-4, atol=1e-8)
