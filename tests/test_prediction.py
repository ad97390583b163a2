"""Logits of a saved model, in the order of the examples."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from cvd.data.examples.pipeline import make_evaluation_dataset
from cvd.data.examples.reading import Examples
from cvd.models.networks.prediction import predict_logits, predict_splits


def make_examples(features: np.ndarray) -> Examples:
    labels = np.arange(len(features)) % 2
    paths = [f"{i}.jpg" for i in range(len(features))]
    return Examples(paths, labels, lambda indices: features[indices], features.shape[1:], features.dtype)


def test_logits_come_in_order_and_without_dropout() -> None:
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Dropout(0.5)(inputs))
    model = keras.Model(inputs, outputs)
    features = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
    seen: list[int] = []
    batches = make_evaluation_dataset(make_examples(features), batch_size=10)
    logits = predict_logits(model, batches, advance=seen.append)
    assert logits.shape == (23,)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, features.sum(axis=1), atol=1e-6)
    assert seen == [10, 10, 3]
    with pytest.raises(ValueError, match=r"the model takes \(3,\), but the examples are \(2,\)"):
        predict_logits(model, make_evaluation_dataset(make_examples(features[:, :2]), batch_size=10))


def test_splits_are_predicted_behind_the_features_and_of_train_a_share(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3))
    features = keras.layers.GlobalAveragePooling2D(name="features")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(features))
    splits = ("train", "validation", "test")
    manifest = pd.DataFrame(
        [(f"{split}/{i}.jpg", split, i % 2, f"{i}") for split in splits for i in range(8)],
        columns=["path", "split", "label", "sha256"],
    )
    index: dict[str, dict[str, list[object]]] = {"paths": {}, "labels": {}}
    for n, split in enumerate(splits):
        rows = manifest[manifest["split"] == split]
        index["paths"][split], index["labels"][split] = rows["path"].tolist(), rows["label"].tolist()
        np.save(tmp_path / f"{split}.npy", np.full((8, 3), n, np.float32) + np.arange(8, dtype=np.float32)[:, None])
    (tmp_path / "index.json").write_text(json.dumps(index))
    logits = predict_splits(model, "features", tmp_path, manifest, share=0.5)
    assert [path for path in logits if path.startswith("train")] == [f"train/{i}.jpg" for i in range(4)]
    assert len(logits) == 4 + 8 + 8
    assert logits["train/3.jpg"] == 9
    assert logits["test/5.jpg"] == 3 * (2 + 5)
