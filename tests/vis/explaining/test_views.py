"""What a network says of images with its heat, and such maps in a file."""

from pathlib import Path

import keras
import numpy as np
import pytest
from classifiers import build, draw_images

from cvd.runtime.errors import InputError
from cvd.vis.explaining.geometry import align_maps
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
from cvd.vis.explaining.heatmaps import read_heatmaps, write_heatmaps
from cvd.vis.explaining.methods import METHODS, explain_images
from cvd.vis.explaining.views import TopViewer, Viewer


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return build("plain")


def test_a_view_is_what_the_network_says_and_where_it_looks(plain: keras.Model) -> None:
    views = Viewer("mine", plain, ["conv1", "conv2"]).view(draw_images())
    probabilities = compute_probabilities(make_scorer(plain)(draw_images()))[:, 0]
    for view, probability in zip(views, probabilities, strict=True):
        assert view.probability == pytest.approx(float(probability))
        assert view.lines == [f"P(dog) {probability:.3f}", f"says {('cat', 'dog')[int(probability > 0.5)]}"]
        assert [heat.heading for heat in view.heats] == ["early cat", "early dog", "late cat", "late dog"]
        assert [heat.layer for heat in view.heats] == ["conv1", "conv1", "conv2", "conv2"]
    cats = align_maps(plain, "conv2", explain_images(plain, draw_images(), layer="conv2", sign=-1))
    np.testing.assert_allclose(np.stack([view.heats[2].map for view in views]), cats, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_each_image_is_explained_for_its_own_class(plain: keras.Model, method: str) -> None:
    viewer = Viewer("mine", plain, method=method, only_last=True)
    paths = ["a", "b", "c"]
    seen = viewer.explain_named(draw_images(), paths)
    views = [seen.view(path) for path in paths]
    assert [[heat.label for heat in view.heats] for view in views] == [[view.label] for view in views]
    assert {heat.unit for view in views for heat in view.heats} == {METHODS[method].unit}
    assert {heat.map.shape for view in views for heat in view.heats} == {(33, 33)}
    layer = viewer.layers[-1]
    signs = np.where(np.array([view.label for view in views]) == "dog", 1, -1)
    expected = align_maps(plain, layer, explain_images(plain, draw_images(), method=method, sign=signs))
    np.testing.assert_allclose(np.stack([view.heats[0].map for view in views]), expected, rtol=1e-4, atol=1e-8)


def test_top_classes_are_ranked_and_each_has_its_heat() -> None:
    model, image = build("plain", units=4), draw_images()[:1]
    viewer = TopViewer(model, list("abcd"), top=3, method="gradcam")
    heats = viewer.view(image)
    assert viewer.caption == "Grad-CAM at conv2"
    (probabilities,) = compute_probabilities(np.asarray(model(image)))
    ranked = np.argsort(-probabilities)[:3]
    assert [heat.label for heat in heats] == [f"{'abcd'[index]} {probabilities[index]:.0%}" for index in ranked]
    for heat, index in zip(heats, ranked, strict=True):
        expected = explain_images(model, image, layer="conv2", class_index=int(index))
        np.testing.assert_allclose(heat.map, align_maps(model, "conv2", expected)[0], rtol=1e-4, atol=1e-8)
        assert heat.layer == "conv2"


def test_known_maps_are_not_computed_again(plain: keras.Model) -> None:
    known = np.array([[2.0], [-1.0], [0.5]], np.float32), {"conv2": np.ones((3, 5, 5), np.float32)}
    seen = Viewer("mine", plain, only_last=True).explain_named(draw_images(), ["a", "b", "c"], known)
    assert seen.signs.tolist() == [[1], [-1], [1]]
    np.testing.assert_array_equal(seen.maps["conv2"], np.ones((3, 1, 5, 5)))
    assert seen.describe() == "Grad-CAM at the last convolution"


@pytest.mark.parametrize("method", ["gradcam", "integrated"])
def test_maps_in_a_file_are_the_network_s_and_equal_ones_equal_bytes(
    plain: keras.Model, tmp_path: Path, method: str
) -> None:
    paths = ["test/cat/cat.1.jpg", "test/cat/cat.é.jpg", "test/dog/dog.1.jpg"]
    viewer = Viewer("mine", plain, method=method)
    seen = viewer.explain(draw_images(), paths, (-1, 1))
    for name in ("one.npz", "two.npz"):
        write_heatmaps(tmp_path / name, shown=seen, named=seen)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    kept = read_heatmaps(tmp_path / "one.npz", "shown")
    assert kept.paths == paths
    assert (kept.caption, kept.describe()) == (viewer.caption, seen.describe())
    for path, expected in zip(paths, viewer.view(draw_images()), strict=True):
        view = kept.view(path)
        assert (view.variant, view.probability) == (expected.variant, expected.probability)
        assert [heat[:2] + heat[3:] for heat in view.heats] == [heat[:2] + heat[3:] for heat in expected.heats]
        for heat, other in zip(view.heats, expected.heats, strict=True):
            np.testing.assert_array_equal(heat.map, other.map)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_damaged_file_of_maps_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "baseline.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"baseline\.npz cannot be read .*dvc repro -f explanations@baseline"):
        read_heatmaps(tmp_path / "baseline.npz", "shown")
