"""Logits of a saved model, in the order of the examples."""

import keras
import numpy as np
import pytest

from cvd.data.examples.pipeline import make_evaluation_dataset
from cvd.data.examples.reading import Examples
from cvd.models.networks.prediction import predict_logits


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
