"""What a network says of images with its heat, and the figures of its maps."""

import io
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from classifiers import build, draw_images
from PIL import Image

from cvd.vis.explaining.figures import check_explanations, read_masks
from cvd.vis.explaining.geometry import align_maps
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
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
    heats = viewer.explain(draw_images(), [np.array([1, -1, 1])])
    assert [[heat.label for heat in row] for row in heats] == [["dog"], ["cat"], ["dog"]]
    assert {heat.unit for row in heats for heat in row} == {METHODS[method].unit}
    assert {heat.map.shape for row in heats for heat in row} == {(33, 33)}


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


def test_masks_are_read_by_kind_and_empty_ones_left_out(tmp_path: Path) -> None:
    def encode(value: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.full((4, 6), value, np.uint8)).save(file, "png")
        return file.getvalue()

    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        archive.writestr("animal/test/cat/cat.1.png", encode(255))
        archive.writestr("head/test/cat/cat.1.png", encode(0))
    first, second = read_masks(tmp_path / "masks.zip", ["test/cat/cat.1.jpg", "test/dog/dog.1.jpg"])
    assert list(first) == ["animal"]
    assert first["animal"].all()
    assert second == {}


def test_every_method_has_its_figures_and_chance_too(plain: keras.Model) -> None:
    mask = np.arange(33 * 33).reshape(33, 33) < 500
    figures = check_explanations(
        plain,
        list(draw_images()),
        [{"animal": mask}] * 3,
        methods=["gradcam", "hirescam"],
        layers=None,
        n_perturbed=2,
        seed=1,
    )
    assert list(figures) == ["gradcam", "hirescam", "chance"]
    (measured,) = figures["gradcam"].values()
    names = ["animal_share", "animal_pointing", "animal_pointing_strict", "deletion", "insertion"]
    assert list(measured) == [*names, "rank_correlation", "details"]
    assert list(figures["chance"]["random"]) == names
    curve = measured["details"][0]["rank_correlations"]
    assert list(curve) == ["logit", "dense", "conv2", "conv1"]
    assert measured["rank_correlation"] == curve["conv1"]
