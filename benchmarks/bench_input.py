"""Input: files, shards and memory against Keras' two ways of reading a folder. Batches of 20 at 150 px.

A pass is timed from opening to the last batch. The files are in the system's page cache for everyone.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from benchmarks.contest import print_rates, time_contenders
from cvd.stage import silence_tensorflow

SIZE, BATCH = 150, 20
GENERATOR, DATASET = "ImageDataGenerator", "image_dataset_from_directory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="how many to generate")
    parser.add_argument("--source-px", type=int, default=200, help="side of the generated files")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    silence_tensorflow()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = generate_images(folder / "images", args.images, args.source_px)
        contenders = make_peers(folder / "images/train", args.images) | make_ours(folder, manifest)
        rates = time_contenders(contenders, repeats=args.repeats)
    title = f"Input: a pass over {args.images:,} JPEG files of {args.source_px} px, batches of {BATCH} at {SIZE} px"
    print_rates(title, rates, peers=[GENERATOR, DATASET])


def generate_images(folder: Path, n: int, side_px: int) -> pd.DataFrame:
    """Writes n JPEG files of coloured blobs with some grain, about as large as photos; returns their manifest."""
    rng, rows = np.random.default_rng(0), []
    for number in range(n):
        label = number % 2
        path = f"train/{('cat', 'dog')[label]}/{number}.jpg"
        coarse = rng.integers(0, 232, (12, 12, 3), dtype=np.uint8)
        blobs = cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
        image = blobs + rng.integers(0, 24, blobs.shape, dtype=np.uint8)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / path), image, [cv2.IMWRITE_JPEG_QUALITY, 85])
        rows.append({"path": path, "label": label, "split": "train", "sha256": f"{number:064x}"})
    return pd.DataFrame(rows)


def make_peers(folder: Path, n: int) -> dict[str, Callable[[], int]]:
    """Keras' readers, as tutorials use them."""
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    def read_generator() -> int:
        options = {
            "target_size": (SIZE, SIZE),
            "batch_size": BATCH,
            "class_mode": "binary",
            "interpolation": "bilinear",
        }
        batches = ImageDataGenerator(rescale=1 / 255).flow_from_directory(folder, **options)
        return sum(len(batches[k][0]) for k in range(-(-n // BATCH)))

    def read_dataset() -> int:
        options = {"image_size": (SIZE, SIZE), "batch_size": BATCH, "label_mode": "binary", "verbose": False}
        return count(keras.utils.image_dataset_from_directory(folder, **options))

    return {GENERATOR: read_generator, DATASET: read_dataset}


def make_ours(folder: Path, manifest: pd.DataFrame) -> dict[str, Callable[[], int]]:
    """This project's readers, each opened afresh, and one whose images are in memory already."""
    from cvd.data.examples import Examples, read_files, read_shards
    from cvd.data.pipeline import make_training_dataset
    from cvd.data.records import write_shards

    for encoding in ("raw", "jpeg"):
        (folder / encoding).mkdir()
        write_shards(
            folder / "images",
            manifest,
            folder / encoding,
            size_px=SIZE,
            encoding=encoding,
            size_mb=64,
            splits=["train"],
        )
    memory = 10**10
    kept = read_shards(folder / "raw", "train", memory_bytes=memory)

    def read(examples: Examples) -> int:
        return count(make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=1))

    def from_files(memory_bytes: int) -> Examples:
        return read_files(folder / "images", manifest, "train", size_px=SIZE, memory_bytes=memory_bytes)

    return {
        "files, streamed": lambda: read(from_files(0)),
        "files, into memory": lambda: read(from_files(memory)),
        "shards jpeg, streamed": lambda: read(read_shards(folder / "jpeg", "train", memory_bytes=0)),
        "shards raw, streamed": lambda: read(read_shards(folder / "raw", "train", memory_bytes=0)),
        "shards raw, into memory": lambda: read(read_shards(folder / "raw", "train", memory_bytes=memory)),
        "in memory, later passes": lambda: read(kept),
    }


def count(batches: Iterable[Any]) -> int:
    """Reads all batches; how many images they held."""
    return sum(int(images.shape[0]) for images, _ in batches)


if __name__ == "__main__":
    main()
