"""Features: the saved network's own, in order, whatever the batches and threads; the stage's files."""

import json
import shutil
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from cvd.data.examples.reading import read_features
from cvd.data.images.manifest import read_manifest, write_manifest
from cvd.models.networks.backbone import describe_backbone, save_backbone
from cvd.models.networks.features import cache_features, compute_features, make_extractor
from cvd.models.networks.folding import fold_normalisation
from cvd.models.pretrained.applications import build_graph
from cvd.models.pretrained.building import build_backbone
from cvd.models.pretrained.lite import build_lite

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(7)


def shake(model: keras.Model) -> keras.Model:
    """Random statistics for every BatchNorm, so that folding has something to do."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([RNG.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
    return model


def count_norms(model: keras.Model) -> int:
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


def run(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What the model says, without the seconds that compiling takes."""
    return model(images, training=False).numpy()


@pytest.mark.parametrize(("name", "size_px", "n_norms"), [("InceptionV3", 75, 94), ("Xception", 71, 40)])
def test_folding_keeps_the_function(name: str, size_px: int, n_norms: int) -> None:
    keras.layers.Conv2D(1, 1)  # moves Keras' counter of automatic names
    model = shake(build_graph(name, size_px, has_head=False))
    assert {"conv2d", "batch_normalization_1"} < {layer.name for layer in model.layers}  # this network's own counts
    folded = fold_normalisation(model)
    assert count_norms(model) == n_norms
    assert count_norms(folded) == 0
    images = RNG.integers(0, 256, (1, size_px, size_px, 3)).astype("float32")
    expected = run(model, images)
    np.testing.assert_allclose(run(folded, images), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_the_extractor_gives_the_features_of_any_number_of_images() -> None:
    model = shake(build_lite("EfficientNetLite0", 33, has_head=True))
    images = RNG.integers(0, 256, (5, 33, 33, 3), dtype=np.uint8)
    extract = make_extractor(model)
    expected = run(keras.Model(model.input, model.get_layer("features").output), images)
    np.testing.assert_allclose(extract(images), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(extract(images[:2]), expected[:2], rtol=1e-3, atol=1e-4)


def test_only_what_can_be_folded_is_folded() -> None:
    pixels = keras.Input((8, 8, 3), name="pixels")
    a = keras.layers.Conv2D(4, 3, activation="relu", name="curved")(pixels)
    a = keras.layers.BatchNormalization(name="after_curved")(a)
    b = keras.layers.Conv2D(4, 3, name="shared")(a)
    c = keras.layers.BatchNormalization(name="after_shared", center=False)(b)
    d = keras.layers.Add(name="add")([b, c])
    d = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="deep")(d)
    d = keras.layers.BatchNormalization(name="after_deep", scale=False)(d)
    model = shake(keras.Model(pixels, d, name="mixed"))
    for layer in model.layers:
        if layer.name == "deep":
            layer.set_weights([RNG.normal(size=value.shape) for value in layer.get_weights()])
    folded = fold_normalisation(model)
    norms = [layer.name for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms == ["after_curved", "after_shared"]
    images = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(run(folded, images), run(model, images), rtol=1e-4, atol=1e-4)


def test_features_come_in_order_from_many_threads() -> None:
    def fetch(indices: np.ndarray) -> np.ndarray:
        time.sleep(0.01 * (indices[0] % 3))
        return indices.astype(np.float32)[:, None]

    seen: list[int] = []
    features = compute_features(
        lambda images: images * 2, fetch, n_images=23, threads=4, batch_size=3, progress=seen.append
    )
    np.testing.assert_array_equal(features[:, 0], np.arange(23) * 2)
    assert seen == [3] * 7 + [2]


def test_an_unreadable_image_ends_it() -> None:
    def fetch(indices: np.ndarray) -> np.ndarray:
        raise ValueError("cannot decode")

    with pytest.raises(ValueError, match="cannot decode"):
        compute_features(lambda images: images, fetch, n_images=40, threads=2)


def test_the_stage_writes_what_examples_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cvd.machine.threads.set_threads", lambda threads: None)  # TensorFlow runs already
    rows = []
    for split in ("train", "validation", "test"):
        for label, name in enumerate(("cat", "dog")):
            path = Path("images", split, name, f"{name}.0.png")
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8))
            blank = dict.fromkeys(("sha256", "group", "source_name", "normalised"), "")
            row = {"path": f"{split}/{name}/{name}.0.png", "label": label, "split": split, "width": 30, "height": 40}
            rows.append({**row, **blank})
    write_manifest(rows, "manifest.csv")
    model, source = build_backbone(name="EfficientNetLite0", weights="random", size_px=33)
    save_backbone(model, "backbone", name="EfficientNetLite0", weights="random", source=source)
    cache_features(Path("images"), read_manifest("manifest.csv"), Path("backbone"), Path("features"), threads=2)

    index = json.loads(Path("features/index.json").read_text())
    assert index["backbone"] == {
        "name": "EfficientNetLite0",
        "size_px": 33,
        "sha256": describe_backbone("backbone").sha256,
    }
    for split in ("train", "validation", "test"):
        examples = read_features("features", split)
        assert examples.labels.tolist() == [0, 1]
        assert examples.paths == [f"{split}/cat/cat.0.png", f"{split}/dog/dog.0.png"]
        assert examples.fetch(np.arange(2)).shape == (2, 1280)
