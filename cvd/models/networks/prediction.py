"""Logits of a saved model, as in use: no dropout, no augmentation."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from cvd.data.examples.pipeline import make_evaluation_dataset, reveal_input_errors
from cvd.data.examples.reading import read_split
from cvd.data.examples.subset import take_share
from cvd.models.networks.folding import fold_normalisation
from cvd.models.networks.head import split_head
from cvd.runtime.vocabulary import SPLITS

BATCH_SIZE = 50  # no result that people see depends on it, but the last bits of a logit do: so it is fixed


def predict_logits(
    model: keras.Model, batches: tf.data.Dataset, *, advance: Callable[[int], object] | None = None
) -> np.ndarray:
    """Predict the logits, (n,) float32, of batches of examples and labels, in order; positive means the second class.

    Args:
        model: maps pixels (b, h, w, 3) or features (b, k) to logits (b, 1).
        batches: of such inputs and labels.
        advance: told after each batch how many examples it held, for a progress bar.

    Raises:
        ValueError: the examples have another shape than the model takes.
    """
    expected, given = tuple(model.input_shape[1:]), tuple(batches.element_spec[0].shape[1:])
    if expected != given:
        raise ValueError(f"the model takes {expected}, but the examples are {given}")

    @tf.function(reduce_retracing=True, jit_compile=False)  # XLA is slower than oneDNN on processors
    def predict(batch: tf.Tensor) -> tf.Tensor:
        return model(batch, training=False)

    parts = []
    for batch, _ in batches:
        parts.append(predict(batch).numpy().reshape(-1))  # (b, 1) to (b,)
        if advance:
            advance(len(parts[-1]))
    return np.concatenate(parts).astype(np.float32)


def predict_splits(
    model: keras.Model,
    source: str,
    folder: Path,
    manifest: pd.DataFrame,
    *,
    share: float,
    splits: Sequence[str] = SPLITS,
) -> dict[str, float]:
    """Predict the logits of the images that a variant is trained or measured on, by their paths in the manifest.

    `source` and `folder` are as of `cvd.data.examples.reading.read_split`. Of train a `share` is predicted. A search
    names the `splits` that it may look at.

    Raises:
        InputError: an example is missing or damaged, or the manifest lists other images.
    """
    network = split_head(model) if source == "features" else fold_normalisation(model)  # the same function, faster
    logits: dict[str, float] = {}
    for split in splits:
        examples = read_split(source, folder, manifest, split, size_px=model.input_shape[1])
        examples = take_share(examples, manifest, share if split == "train" else 1)
        batches = make_evaluation_dataset(examples, batch_size=BATCH_SIZE)
        with (
            reveal_input_errors(),
            tqdm(total=len(examples), desc=f"predict {split}", unit="image", disable=None, leave=False) as bar,
        ):
            logits |= zip(examples.paths, predict_logits(network, batches, advance=bar.update), strict=True)
    return logits


def make_predictor(model: keras.Model, *, batch_size: int = BATCH_SIZE) -> Callable[[np.ndarray], np.ndarray]:
    """Compile the way from images, (n, s, s, 3) uint8, to logits, (n,) float32, once; positive means the second class.

    An image's logit is the same, to the last bit, in any company: batches are filled up to `batch_size`.
    """
    call = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.uint8)],
        jit_compile=False,
    )

    def predict(images: np.ndarray) -> np.ndarray:
        n_missing = -len(images) % batch_size
        filled = np.concatenate([images, np.zeros((n_missing, *images.shape[1:]), np.uint8)])
        parts = [call(tf.constant(filled[i : i + batch_size])).numpy() for i in range(0, len(filled), batch_size)]
        return np.concatenate(parts).reshape(-1)[: len(images)]

    return predict
