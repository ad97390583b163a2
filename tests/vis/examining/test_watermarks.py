"""The heat on a planted watermark."""

import io
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from classifiers import SIDE
from PIL import Image

from cvd.vis.examining.figures import Scope, read_masks
from cvd.vis.examining.watermarks import KIND, examine_watermarks, list_marked

MASK = np.zeros((SIDE, SIDE), bool)
MASK[-9:, -9:] = True


def build_detector(channel: int) -> keras.Model:
    """A network that sums one channel: the second class is where that is bright."""
    inputs = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Conv2D(1, 1, activation="relu", name="conv")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(inputs, keras.layers.Dense(1, name="logit")(x))
    kernel = np.zeros((1, 1, 3, 1), np.float32)
    kernel[..., channel, 0] = 1
    model.get_layer("conv").set_weights([kernel, np.zeros(1, np.float32)])
    model.get_layer("logit").set_weights([np.full((1, 1), 100, np.float32), np.zeros(1, np.float32)])
    return model


def measure(channel: int) -> dict[str, dict[str, float]]:
    """Images with red within the mask only, and green everywhere else."""
    images = np.zeros((4, SIDE, SIDE, 3), np.float32)
    images[..., 0], images[..., 1] = 200 * MASK, 200 * ~MASK
    scope = Scope(["hirescam"], None, n_perturbed=1, n_steps=1, n_randomised=1)
    figures = examine_watermarks(build_detector(channel), images, [{KIND: MASK}] * 4, scope, seed=1)
    return {method: next(iter(layers.values())) for method, layers in figures.items()}  # type: ignore[misc]


def test_a_network_that_uses_the_mark_has_its_heat_there_and_another_one_none() -> None:
    uses, ignores = measure(0), measure(1)
    assert uses["hirescam"]["watermark_share"] == pytest.approx(1, abs=0.02)
    assert uses["hirescam"]["watermark_pointing"] == 1
    assert ignores["hirescam"]["watermark_share"] == pytest.approx(0, abs=0.02)
    assert uses["chance"]["watermark_share"] == pytest.approx(MASK.mean(), rel=0.15)


def test_marked_images_are_those_with_such_a_mask(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(MASK.astype(np.uint8) * 255).save(file, "png")
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        for name in ("animal/train/dog/dog.1", "watermark/train/dog/dog.1", "watermark/train/dog/dog.2"):
            archive.writestr(f"{name}.png", file.getvalue())
    assert list_marked(tmp_path / "masks.zip", 9) == ["train/dog/dog.1.jpg", "train/dog/dog.2.jpg"]
    assert list_marked(tmp_path / "masks.zip", 1) == ["train/dog/dog.1.jpg"]
    (masks,) = read_masks(tmp_path / "masks.zip", ["train/dog/dog.1.jpg"], [KIND])
    assert (masks[KIND] == MASK).all()
