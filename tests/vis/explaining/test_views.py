"""What a network says of images with its heat, and such maps in a file."""

from pathlib import Path

import keras
import numpy as np
import pytest
from classifiers import build, draw_images

from cvd.runtime.errors import InputError
from cvd.vis.explaining.geometry import Heat, View, align_maps
from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
from cvd.vis.explaining.heatmaps import read_heatmaps, write_heatmaps
from cvd.vis.explaining.methods import METHODS, explain_images
from cvd.vis.explaining.views import ClassViewer, Viewer, find_class, format_share


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return build("plain")


def test_a_view_is_what_the_network_says_and_where_it_looks(plain: keras.Model) -> None:
    views = Viewer("mine", plain, ["conv1", "conv2"], labels=("cat", "dog")).view(draw_images())
    probabilities = compute_probabilities(make_scorer(plain)(draw_images()))[:, 0]
    for view, probability in zip(views, probabilities, strict=True):
        assert view.probability == pytest.approx(float(probability))
        assert view.lines == [f"P(dog) {probability:.3f}", f"says {('cat', 'dog')[int(probability > 0.5)]}"]
        assert [heat.heading for heat in view.heats] == ["early cat", "early dog", "late cat", "late dog"]
        assert [heat.layer for heat in view.heats] == ["conv1", "conv1", "conv2", "conv2"]
    cats = align_maps(plain, "conv2", explain_images(plain, draw_images(), layer="conv2", sign=-1))
    np.testing.assert_allclose(np.stack([view.heats[2].map for view in views]), cats, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_each_image_is_explained_for_its_own_class_and_then_the_other(plain: keras.Model, method: str) -> None:
    viewer = Viewer("mine", plain, method=method, only_last=True, labels=("cat", "dog"))
    paths = ["a", "b", "c"]
    seen = viewer.explain_named(draw_images(), paths)
    views = [seen.view(path) for path in paths]
    assert [view.heats[0].label for view in views] == [view.label for view in views]
    assert all({heat.label for heat in view.heats} == {"cat", "dog"} for view in views)
    assert {heat.unit for view in views for heat in view.heats} == {METHODS[method].unit}
    assert {heat.map.shape for view in views for heat in view.heats} == {(33, 33)}
    layer = viewer.layers[-1]
    signs = np.where(np.array([view.label for view in views]) == "dog", 1, -1)
    cells = explain_images(plain, draw_images(), method=method, sign=signs)
    heats = np.stack([view.heats[0].map for view in views])
    np.testing.assert_allclose(heats, align_maps(plain, layer, cells), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose([view.heats[0].total for view in views], cells.sum(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(seen.sum_last()[:, 0], cells.sum(axis=(1, 2)), rtol=1e-4)


def test_a_map_contradicts_where_the_other_class_has_more() -> None:
    cat, dog = (Heat(label, "conv4", np.ones((2, 2)), total=total) for label, total in (("cat", 3.0), ("dog", 2.0)))
    view = View("mine", 0.9, [cat, dog], ("cat", "dog"))
    assert [view.is_contradicted(heat) for heat in (cat, dog)] == [False, True]
    assert not View("mine", 0.1, [cat, dog], ("cat", "dog")).is_contradicted(cat)
    assert not View("mine", 0.9, [cat._replace(layer="conv1"), dog], ("cat", "dog")).is_contradicted(dog)


def test_the_default_adds_up_to_the_logit(plain: keras.Model) -> None:
    (logits,) = make_scorer(plain)(draw_images()).T
    seen = Viewer("mine", plain, only_last=True, labels=("cat", "dog")).explain(draw_images(), ["a", "b", "c"], (1, -1))
    dog, cat = seen.sum_last().T
    np.testing.assert_allclose(dog - cat, logits, rtol=1e-4)
    assert seen.title == "HiResCAM+"


def test_top_classes_are_ranked_and_each_has_its_heat() -> None:
    model, image = build("plain", units=4), draw_images()[:1]
    viewer = ClassViewer(model, list("abcd"), method="gradcam")
    heats = viewer.view(image, top=3)
    (probabilities,) = compute_probabilities(np.asarray(model(image)))
    ranked = [int(index) for index in np.argsort(-probabilities)[:3]]
    first, second = ("abcd"[index] for index in ranked[:2])
    labels = [f"{'abcd'[index]} {format_share(probabilities[index])}" for index in ranked]
    labels += [f"{first}, not {second}", f"{second}, not {first}"]
    assert [heat.label for heat in heats] == 2 * labels
    assert [heat.layer for heat in heats] == 5 * ["conv1"] + 5 * ["conv2"]
    assert [heat.is_paired for heat in heats] == 2 * [False, False, False, True, True]
    for heat, index in zip(heats[5:8], ranked, strict=True):
        expected = explain_images(model, image, layer="conv2", method="gradcam", class_index=index)
        np.testing.assert_allclose(heat.map, align_maps(model, "conv2", expected)[0], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_a_difference_is_that_of_a_network_of_two_classes(method: str) -> None:
    """Beside a network whose only logit is the difference."""
    model, image = build("plain", units=4), draw_images()[:1]
    heats = ClassViewer(model, list("abcd"), method=method).explain(image, [], (2, 0))
    logits = model.get_layer("logit")
    alone = keras.Model(model.input, keras.layers.Dense(1, name="difference")(logits.input))
    kernel, bias = logits.get_weights()
    alone.get_layer("difference").set_weights([kernel[:, [2]] - kernel[:, [0]], bias[[2]] - bias[[0]]])
    for heat, sign in zip(heats[-2:], (1, -1), strict=True):
        expected = explain_images(alone, image, method=method, sign=sign)
        placed = align_maps(model, heat.layer, expected)[0]
        np.testing.assert_allclose(heat.map, placed, rtol=1e-3, atol=1e-4 * placed.max())
    assert [heat.label for heat in heats[-2:]] == ["c, not a", "a, not c"]


def test_a_difference_of_two_classes_without_a_chance_has_its_score_cam() -> None:
    """Both probabilities are 0 in float32 beside a third class; how they compare is known all the same."""
    model, image = build("plain", units=3), draw_images()[:1]
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([kernel, bias + np.array([0, 0, 1000], np.float32)])
    viewer = ClassViewer(model, list("abc"), method="scorecam")
    assert [share for _, share in viewer.rank(image)] == [1, 0, 0]
    heats = viewer.explain(image, [], (0, 1))
    assert all(np.isfinite(heat.map).all() for heat in heats)
    assert any(heat.map.any() for heat in heats)


def test_shares_are_never_rounded_to_none_or_all() -> None:
    assert [format_share(share) for share in (0, 0.0099, 0.01, 0.304, 0.99, 0.991, 1)] == [
        *("0%", "<1%", "1%", "30%", "99%", ">99%", "100%")
    ]


def test_classes_are_found_by_number_name_or_part() -> None:
    names = ["tabby", "tiger cat", "Egyptian cat", "cathedral", "lynx"]
    assert [find_class(names, asked) for asked in ("Tabby", "egyptian", "3", "tiger")] == [0, 2, 3, 1]
    for asked, advice in (
        ("cat", "several of the 5: did you mean tiger cat, E"),
        ("lynks", "none of the 5: did"),
    ):
        with pytest.raises(InputError, match=f"class '{asked}' is {advice}"):
            find_class(names, asked)


def test_known_maps_are_not_computed_again(plain: keras.Model) -> None:
    logits, maps = np.array([[2.0], [-1.0], [0.5]], np.float32), {"conv2": np.ones((3, 2, 5, 5), np.float32)}
    seen = Viewer("mine", plain, method="gradcam", only_last=True, labels=("cat", "dog")).keep_named(
        ["a", "b", "c"], logits, maps
    )
    assert seen.signs.tolist() == [[1, -1], [-1, 1], [1, -1]]
    np.testing.assert_array_equal(seen.maps["conv2"], np.ones((3, 2, 5, 5)))
    assert seen.describe() == "Grad-CAM at the last convolution"


@pytest.mark.parametrize("method", ["gradcam", "integrated"])
def test_maps_in_a_file_are_the_network_s_and_equal_ones_equal_bytes(
    plain: keras.Model, tmp_path: Path, method: str
) -> None:
    paths = ["test/cat/cat.1.jpg", "test/cat/cat.é.jpg", "test/dog/dog.1.jpg"]
    viewer = Viewer("mine", plain, method=method, labels=("cat", "dog"))
    seen = viewer.explain(draw_images(), paths, (-1, 1))
    for name in ("one.npz", "two.npz"):
        write_heatmaps(tmp_path / name, shown=seen, named=seen)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    kept = read_heatmaps(tmp_path / "one.npz", "shown")
    assert kept.paths == paths
    assert (kept.caption, kept.note, kept.describe()) == (viewer.caption, viewer.note, seen.describe())
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
