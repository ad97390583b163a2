"""Augmentation: OpenCV's passes over each image against ImageDataGenerator, Keras' layers and TensorFlow's fused op.

The same ranges for all (rotation 40, shift 0.2, shear 11.5, zoom 0.2, flip), images in memory, batches of 20 at 150 px;
once also with colours, erased patches and mixed images, which the peers do not do here.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contest import Goal, divide, print_conditions, print_goals, print_rates, time_contenders
from benchmarks.workload import BATCH, KINDS, SIZE
from cvd.runtime.startup import start_tensorflow

RANGES: dict[str, Any] = {
    "rotation_degrees": 40.0,
    "shift_fraction": 0.2,
    "shear_degrees": 11.5,
    "zoom_fraction": 0.2,
    "horizontal_flip": True,
}
GENERATOR, LAYERS = "ImageDataGenerator", "five Keras layers"
PIPELINE = "ours, in the pipeline"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000, help="how many to augment")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    start_tensorflow()
    images = np.random.default_rng(0).integers(0, 256, (args.images, SIZE, SIZE, 3), dtype=np.uint8)
    contenders = make_peers(images) | make_ours(images)
    rates = time_contenders(contenders, repeats=args.repeats)
    data = f"{args.images:,} images of {SIZE} px in memory, batches of {BATCH}"
    print_conditions("Augmentation", data=data, precision="ours uint8; the peers float32")
    print_rates(rates, peers=[GENERATOR, LAYERS])
    print_goals(
        [
            Goal(f"augmentation vs {peer}", asked, divide(rates[PIPELINE], rates[peer]))
            for peer, asked in ((GENERATOR, 10), (LAYERS, 6))
        ]
    )


def make_peers(images: np.ndarray) -> dict[str, Callable[[], int]]:
    """What people use today."""
    import keras
    import tensorflow as tf
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    floats, n_batches = images.astype(np.float32), -(-len(images) // BATCH)
    generator = ImageDataGenerator(
        rotation_range=40,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=11.5,
        zoom_range=0.2,
        horizontal_flip=True,
    )

    def run_generator() -> int:
        batches = generator.flow(floats, batch_size=BATCH)
        return sum(len(batches[k]) for k in range(n_batches))

    layers = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(40 / 360, fill_mode="nearest"),
            keras.layers.RandomTranslation(0.2, 0.2, fill_mode="nearest"),
            keras.layers.RandomShear(0.2, 0.2, fill_mode="nearest"),
            keras.layers.RandomZoom(0.2, 0.2, fill_mode="nearest"),
        ]
    )
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(BATCH)
    dataset = dataset.map(lambda batch: layers(tf.cast(batch, tf.float32), training=True), tf.data.AUTOTUNE).prefetch(4)
    return {GENERATOR: run_generator, LAYERS: lambda: sum(int(batch.shape[0]) for batch in dataset)}


def make_ours(images: np.ndarray) -> dict[str, Callable[[], int]]:
    """The warp alone on one thread, in the pipeline on all, and the same matrices through TensorFlow's fused op."""
    import tensorflow as tf

    from cvd.data.augmentation.draws import Augmentation
    from cvd.data.augmentation.geometry import sample_affine
    from cvd.data.augmentation.images import augment_images
    from cvd.data.examples.batches import Augment
    from cvd.data.examples.pipeline import make_training_dataset
    from cvd.data.examples.reading import Examples
    from cvd.training.plan import choose_augment

    n, ranges = len(images), {**RANGES, **dict.fromkeys(KINDS, 0.0)}
    augmentation = Augmentation(seed=1, **ranges)
    moving, mixing = (choose_augment({"augment": True}, chosen, seed=1) for chosen in (ranges, {**RANGES, **KINDS}))
    examples = Examples(
        [str(k) for k in range(n)],
        np.zeros(n, np.int64),
        lambda indices: images[indices],
        images.shape[1:],
        images.dtype,
    )

    def fuse(batch: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
        draws = [sample_affine(augmentation, epoch=epoch, index=int(k), height=SIZE, width=SIZE) for k in indices]
        matrices = np.stack([np.append(draw.matrix.ravel(), (0, 0)) for draw in draws]).astype(np.float32)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=batch,
            transforms=matrices,
            output_shape=(SIZE, SIZE),
            interpolation="BILINEAR",
            fill_mode="NEAREST",
            fill_value=0.0,
        ).numpy()

    def move(batch: np.ndarray, first: int) -> np.ndarray:
        return augment_images(batch, augmentation, epoch=0, indices=np.arange(first, first + len(batch)))

    def run_alone() -> int:
        return sum(len(move(images[k : k + BATCH], k)) for k in range(0, n, BATCH))

    def run_fused() -> int:
        return sum(len(fuse(images[k : k + BATCH], 0, np.arange(k, min(k + BATCH, n)))) for k in range(0, n, BATCH))

    def run_pipeline(augment: Augment | None) -> int:
        dataset = make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=1, augment=augment)
        return sum(int(batch.shape[0]) for batch, _ in dataset)

    return {
        "TensorFlow's fused op": run_fused,
        "ours, one thread": run_alone,
        PIPELINE: lambda: run_pipeline(moving),
        "the same with all kinds": lambda: run_pipeline(mixing),
    }


if __name__ == "__main__":
    main()
