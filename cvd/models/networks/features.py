"""The frozen backbone's output for every image, computed once."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from cvd.data.examples.reading import read_files
from cvd.models.networks.backbone import Description, describe_backbone, load_backbone
from cvd.models.networks.folding import fold_normalisation
from cvd.runtime.files import replace_folder
from cvd.runtime.threads import map_ahead
from cvd.runtime.vocabulary import SPLITS

BATCH_SIZE = 32  # fixed: the last bits of a result may depend on it
AHEAD = 4  # batches that are loaded while one is computed


def make_extractor(
    backbone: keras.Model, outputs: Sequence[keras.KerasTensor] = ()
) -> Callable[[np.ndarray], np.ndarray]:
    """Compile the backbone up to tensors of it, by default its `features`: (b, s, s, 3) uint8 to (b, ...) float32.

    Several tensors are laid out behind one another, (b, k). BatchNorm is folded into the convolutions, so features are
    the saved model's to rounding.
    """
    wanted = list(outputs) or [backbone.get_layer("features").output]
    network = fold_normalisation(keras.Model(backbone.inputs[0], wanted))
    # A free batch dimension: the last, smaller batch needs no tracing of its own.
    call = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)],
        jit_compile=False,  # XLA is slower than oneDNN on processors
    )

    def extract(images: np.ndarray) -> np.ndarray:
        values = [value.numpy() for value in keras.tree.flatten(call(tf.constant(images)))]
        return values[0] if len(values) == 1 else np.concatenate([value.reshape(len(value), -1) for value in values], 1)

    return extract


def compute_features(
    extract: Callable[[np.ndarray], np.ndarray],
    fetch: Callable[[np.ndarray], np.ndarray],
    *,
    n_images: int,
    threads: int,
    batch_size: int = BATCH_SIZE,
    dtype: str = "float32",
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Compute the features of every image, in order: (n_images, ...), of `dtype`.

    Args:
        extract: what `make_extractor` gives.
        fetch: indices (b,), int64, to images (b, s, s, 3), uint8; called from several threads.
        n_images: at least 1.
        threads: how many load images while the network computes.
        batch_size: images computed at once.
        dtype: of the result; float16 keeps three digits in half the memory.
        progress: called after each batch with the number of its images.
    """
    batches = (np.arange(start, min(start + batch_size, n_images)) for start in range(0, n_images, batch_size))
    results, n_done = np.empty(0, dtype), 0
    for images in map_ahead(fetch, batches, n_ahead=AHEAD, n_threads=threads):  # (b, s, s, 3)
        features = extract(images)  # (b, ...)
        if not n_done:  # at once, since parts and their whole would be twice as much
            results = np.empty((n_images, *features.shape[1:]), dtype)
        results[n_done : n_done + len(images)] = features
        n_done += len(images)
        if progress:
            progress(len(images))
    return results


def cache_features(
    images: Path,
    manifest: pd.DataFrame,
    backbone: Path,
    folder: Path,
    *,
    threads: int,
    progress: Callable[[int], object] | None = None,
) -> Description:
    """Write the features of all splits: `{split}.npy`, (n, k) float32, and index.json, each row's path and label.

    `backbone` is a folder that `save_backbone` wrote; `folder` is replaced whole or not at all. For `threads` and
    `progress` see `compute_features`.

    Raises:
        InputError: the backbone or an image is missing or damaged.
    """
    description = describe_backbone(backbone)
    extract = make_extractor(load_backbone(backbone))
    # No memory for the images: each is wanted once.
    splits = {split: read_files(images, manifest, split, size_px=description.size_px) for split in SPLITS}
    with replace_folder(folder) as partial:
        for split, examples in splits.items():
            features = compute_features(
                extract, examples.fetch, n_images=len(examples), threads=threads, progress=progress
            )
            np.save(partial / f"{split}.npy", features)
        index = {
            "backbone": {key: getattr(description, key) for key in ("name", "size_px", "sha256")},
            "paths": {split: examples.paths for split, examples in splits.items()},
            "labels": {split: examples.labels.tolist() for split, examples in splits.items()},
        }
        (partial / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return description
