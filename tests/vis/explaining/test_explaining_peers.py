"""Grad-CAM, Grad-CAM++ and Score-CAM against tf-keras-vis, and against what xplique gave (make_xplique_maps.py)."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from classifiers import BUILDERS, LAYERS, build, draw_images

from cvd.vis.explaining import weighing
from cvd.vis.explaining.methods import explain_images, make_explainer

MAPS = np.load(Path(__file__).with_name("xplique_maps.npz"))
PLACES = [(name, layer) for name in BUILDERS for layer in LAYERS[name]]
build_once = cache(build)


def call_peer(name: str, model: keras.Model, layer: str, score: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party: it imports SciPy's old names
        from tf_keras_vis import gradcam, scorecam

        peer = {"gradcam": gradcam.Gradcam, "gradcam++": gradcam.GradcamPlusPlus, "scorecam": scorecam.Scorecam}[name]
        settings = {"penultimate_layer": layer, "seek_penultimate_conv_layer": False}
        maps = peer(model, clone=False)(score, draw_images(), expand_cam=False, normalize_cam=False, **settings)
    return np.asarray(maps)


def assert_same(maps: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-4 * expected.max())


def weigh_as_peer(name: str, layer: str, sign: int, **peculiarity: bool) -> np.ndarray:
    """Grad-CAM++ with what a library does otherwise than the paper."""
    _, evidence = make_explainer(build_once(name), [layer]).gather(draw_images(), np.ones((3, 1), np.float32))
    activations, gradients, _ = evidence[layer]
    return weighing.combine_grad_cam_plus_plus(activations, sign * gradients, **peculiarity)


@pytest.mark.parametrize(("name", "layer"), PLACES)
@pytest.mark.parametrize("sign", [1, -1])
def test_tf_keras_vis_gives_the_same_grad_cam(name: str, layer: str, sign: int) -> None:
    model = build_once(name)
    expected = call_peer("gradcam", model, layer, lambda output: sign * output[:, 0])
    assert_same(explain_images(model, draw_images(), layer=layer, sign=sign, method="gradcam"), expected)


# Where eq. 19's denominator comes near 0, float32 has fewer than four digits: at early layers, on some processors.
@pytest.mark.parametrize(("name", "layer"), [(name, LAYERS[name][-1]) for name in BUILDERS])
@pytest.mark.parametrize("sign", [1, -1])
def test_tf_keras_vis_gives_the_same_grad_cam_plus_plus(name: str, layer: str, sign: int) -> None:
    model = build_once(name)
    expected = call_peer("gradcam++", model, layer, lambda output: sign * output[:, 0])
    logits = np.asarray(model(draw_images()))[:, :1, None]
    assert_same(np.exp(sign * logits) * weigh_as_peer(name, layer, sign, scaled=True), expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_tf_keras_vis_gives_the_same_score_cam(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # It enlarges masks corner on corner, here the whole map lies on the whole image: let it do so too. And it takes a
    # softmax, so that it needs two classes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tf_keras_vis import scorecam

    def enlarge(maps: np.ndarray, factors: tuple[float, ...], **_: object) -> np.ndarray:
        size = [round(side * factor) for side, factor in zip(maps.shape[1:3], factors[1:3], strict=True)]
        return tf.image.resize(maps, size).numpy()

    monkeypatch.setattr(scorecam, "zoom", enlarge)
    model, layer = build(name, units=2), LAYERS[name][-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = call_peer("scorecam", model, layer, lambda output: output[:, 1])
    assert_same(explain_images(model, draw_images(), layer=layer, class_index=1, method="scorecam"), expected)


@pytest.mark.parametrize(("name", "layer"), PLACES)
@pytest.mark.parametrize("sign", [1, -1])
def test_xplique_gave_the_same(name: str, layer: str, sign: int) -> None:
    maps = explain_images(build_once(name), draw_images(), layer=layer, sign=sign, method="gradcam")
    assert_same(maps, MAPS[f"{name}/{layer}/gradcam/{sign}"])
    assert_same(weigh_as_peer(name, layer, sign, mean=True), MAPS[f"{name}/{layer}/gradcam++/{sign}"])


def test_few_references_are_empty() -> None:
    n_empty = sum(not MAPS[key].any() for key in MAPS.files)
    assert n_empty <= 3 < len(MAPS.files) == 24


def test_without_peculiarities_it_is_the_library_s_own() -> None:
    np.testing.assert_array_equal(
        weigh_as_peer("plain", "conv2", 1),
        explain_images(build_once("plain"), draw_images(), layer="conv2", method="gradcam++"),
    )
