"""The figures of a network's maps, and the masks that they are measured by."""

import io
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from classifiers import build, draw_images
from PIL import Image

from cvd.vis.examining.figures import examine, read_masks
from cvd.vis.explaining.geometry import align_maps
from cvd.vis.explaining.graphs import make_scorer
from cvd.vis.explaining.methods import explain_images


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


def test_every_method_has_its_figures_and_chance_too(plain: keras.Model) -> None:
    mask = np.arange(33 * 33).reshape(33, 33) < 500
    found = examine(
        plain,
        draw_images(),
        [{"animal": mask}] * 2,
        methods=["gradcam", "hirescam"],
        layers=None,
        n_perturbed=2,
        seed=1,
    )
    figures = found.figures
    assert list(figures) == ["gradcam", "hirescam", "chance"]
    (measured,) = figures["gradcam"].values()
    names = ["animal_share", "animal_pointing", "animal_pointing_strict", "deletion", "insertion"]
    assert list(measured) == [*names, "rank_correlation", "details"]
    assert list(figures["chance"]["random"]) == names
    curve = measured["details"][0]["rank_correlations"]
    assert list(curve) == ["logit", "dense", "conv2", "conv1"]
    assert measured["rank_correlation"] == curve["conv1"]
    # All images are explained, also those that are not checked, for the class that the network names.
    signs = np.where(make_scorer(plain)(draw_images())[:, 0] > 0, 1, -1)
    expected = explain_images(plain, draw_images(), method="hirescam", sign=signs)
    np.testing.assert_allclose(found.maps["hirescam"]["conv2"], expected, rtol=1e-4, atol=1e-8)
    large = align_maps(plain, "conv2", expected[:2])
    shares = [heat[mask].sum() / heat.sum() if heat.any() else 0 for heat in large]
    (other,) = figures["hirescam"].values()
    assert other["animal_share"] == pytest.approx(np.mean(shares), abs=1e-4)
