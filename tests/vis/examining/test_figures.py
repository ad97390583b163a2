"""The figures of a network's maps, and the masks that they are measured by."""

import io
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from classifiers import build, draw_images
from PIL import Image

from cvd.models.scratch.plain import build_plain
from cvd.vis.examining.figures import Examination, Scope, examine, read_masks, weigh_answers
from cvd.vis.explaining.geometry import align_maps
from cvd.vis.explaining.graphs import make_scorer
from cvd.vis.explaining.layers import choose_examined_layers
from cvd.vis.explaining.methods import explain_images

MASK = np.arange(33 * 33).reshape(33, 33) < 500


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return build("plain")


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


@pytest.fixture(scope="module")
def examined(plain: keras.Model) -> Examination:
    masks = [{"animal": MASK}] * 2
    scope = Scope(["gradcam", "hirescam", "hirescam+"], None, n_perturbed=2, n_steps=2, n_randomised=1)
    return examine(plain, draw_images(), masks, scope, seed=1)


def test_every_method_has_its_figures_and_chance_too(plain: keras.Model, examined: Examination) -> None:
    figures = examined.figures
    assert list(figures) == ["gradcam", "hirescam", "hirescam+", "chance"]
    middle, measured = figures["gradcam"]["pool1"], figures["gradcam"]["conv2"]
    assert set(measured) - set(middle) == {"deletion", "insertion"}, "these take longest: of the last layer only"
    names = ["deletion", "insertion", "animal_share", "animal_pointing", "animal_pointing_strict"]
    assert list(measured) == ["agreement", "logit_error", *names, "rank_correlation", "details"]
    assert list(figures["chance"]["random"]) == names
    curve = measured["details"][0]["rank_correlations"]
    assert list(curve) == ["logit", "dense", "conv2", "conv1"]
    assert measured["rank_correlation"] == curve["conv1"]
    # All images are explained, also those that are not checked: for the class that the network names, then the other.
    signs = np.where(make_scorer(plain)(draw_images())[:, 0] > 0, 1, -1)
    for number, sign in enumerate((signs, -signs)):
        expected = explain_images(plain, draw_images(), layer="conv2", method="hirescam", sign=sign)
        np.testing.assert_allclose(examined.maps["hirescam"]["conv2"][:, number], expected, rtol=1e-4, atol=1e-8)
        if number == 0:
            large = align_maps(plain, "conv2", expected[:2])
            shares = [heat[MASK].sum() / heat.sum() if heat.any() else 0 for heat in large]
            assert figures["hirescam"]["conv2"]["animal_share"] == pytest.approx(np.mean(shares), abs=1e-4)


def test_maps_that_order_pixels_alike_are_perturbed_once(examined: Examination) -> None:
    first, second = (examined.figures[method]["conv2"] for method in ("hirescam", "hirescam+"))
    assert (first["deletion"], first["insertion"]) == (second["deletion"], second["insertion"])


def test_shared_biases_make_the_maps_add_up_to_the_logit(examined: Examination) -> None:
    ours, theirs = (examined.figures[method]["conv2"] for method in ("hirescam+", "hirescam"))
    assert (ours["agreement"], ours["logit_error"]) == (1, pytest.approx(0, abs=1e-4))
    assert theirs["logit_error"] > 0.001


def test_the_scales_of_evidence_by_hand() -> None:
    """Two images: 5 against 2 at a logit of 3, and 1 against 4 at a logit of 1."""
    pairs = np.zeros((2, 2, 1, 2))
    pairs[0, 0], pairs[0, 1] = [2, 3], [0, 2]
    pairs[1, 0], pairs[1, 1] = [1, 0], [0, 4]
    figures = weigh_answers(pairs, np.array([3.0, 1.0]), has_sum=True)
    assert figures == {"agreement": 0.5, "logit_error": pytest.approx((0 + 4) / 2 / 2)}
    assert weigh_answers(pairs, np.array([3.0, 1.0]), has_sum=False) == {"agreement": 0.5}


def test_deep_networks_are_examined_in_the_middle_too() -> None:
    model = build_plain(size_px=150, dropout=0.0, width=32, depth=4)
    assert choose_examined_layers(model) == ["pool3", "conv4"]
    assert choose_examined_layers(build("mobilenet")) == ["block_10_depthwise_relu", "out_relu"]
