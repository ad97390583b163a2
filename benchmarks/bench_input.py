"""Input: files, shards and memory against Keras' two ways of reading a folder. Batches of 20 at 150 px.

A pass is timed from opening to the last batch, tf.data's being read in a compiled function, as in training. It is timed
twice: with the files in the system's page cache, and, for the first pass over data that nobody has read before, with
that cache dropped before each pass, for everyone alike.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.contest import Goal, Series, divide, print_conditions, print_goals, print_rates, time_contenders
from benchmarks.workload import (
    BATCH,
    SIDE_PX,
    SIZE,
    count_images,
    count_in_graph,
    drop_page_cache,
    hold,
    hush,
    write_both_shards,
    write_folder,
)
from cvd.runtime.startup import start_tensorflow

GENERATOR, DATASET = "ImageDataGenerator", "image_dataset_from_directory"
RAW = "shards raw, streamed"
BLOCK_BYTES = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, default=4000, help="how many files; few of them show the start of a pass more"
    )
    parser.add_argument("--source-px", type=int, default=SIDE_PX, help="side of the files' images")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    start_tensorflow()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = write_folder(folder / "images", {"train": args.images}, args.source_px)
        contenders = make_peers(folder / "images/train") | make_ours(folder, manifest)
        warm = time_contenders(contenders, repeats=args.repeats)
        readers = {name: work for name, work in contenders.items() if "memory" not in name}
        cold = time_contenders(readers, repeats=args.repeats, prepare=partial(drop_page_cache, folder))
    data = f"{args.images:,} JPEG files of {args.source_px} px, batches of {BATCH} at {SIZE} px"
    print_conditions("Input", data=data, precision="uint8; the peers give float32")
    print_rates(warm, peers=[GENERATOR, DATASET], work="in the page cache")
    print_rates(cold, peers=[GENERATOR, DATASET], work="page cache dropped")
    print_goals(judge(warm, "page cache warm") + judge(cold, "page cache cold"))


def judge(rates: Series, state: str) -> list[Goal]:
    return [Goal(f"raw shards vs {DATASET}, {state}", 6, divide(rates[RAW], rates[DATASET]))]


def make_peers(folder: Path) -> dict[str, Callable[[], int]]:
    """Keras' readers, as tutorials use them."""
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    def read_generator() -> int:
        with hush():
            batches = ImageDataGenerator(rescale=1 / 255).flow_from_directory(
                folder, target_size=(SIZE, SIZE), batch_size=BATCH, class_mode="binary", interpolation="bilinear"
            )
        return count_images(batches[k] for k in range(len(batches)))

    def read_dataset() -> int:
        return count_in_graph(
            keras.utils.image_dataset_from_directory(
                folder, image_size=(SIZE, SIZE), batch_size=BATCH, label_mode="binary", verbose=False
            )
        )

    return {GENERATOR: read_generator, DATASET: read_dataset}


def make_ours(folder: Path, manifest: pd.DataFrame) -> dict[str, Callable[[], int]]:
    """This project's readers, each opened afresh, and one whose images are in memory already."""
    from cvd.data.examples.pipeline import make_training_dataset
    from cvd.data.examples.reading import Examples, read_files, read_shards

    write_both_shards(folder, manifest)
    kept = hold(read_shards(folder / "raw", "train"))

    def read(examples: Examples) -> int:
        return count_in_graph(make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=1))

    def from_files() -> Examples:
        return read_files(folder / "images", manifest, "train", size_px=SIZE)

    return {
        "files, streamed": lambda: read(from_files()),
        "shards jpeg, streamed": lambda: read(read_shards(folder / "jpeg", "train")),
        RAW: lambda: read(read_shards(folder / "raw", "train")),
        "shards raw, bytes alone": lambda: read_bytes(folder / "raw", len(manifest)),
        "files, into memory": lambda: read(hold(from_files())),
        "shards raw, into memory": lambda: read(hold(read_shards(folder / "raw", "train"))),
        "in memory, later passes": lambda: read(kept),
    }


def read_bytes(folder: Path, n: int) -> int:
    """Reads the shards of n images in blocks, and nothing else."""
    block = bytearray(BLOCK_BYTES)
    for shard in folder.glob("*.tfrecord"):
        with shard.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass
    return n


if __name__ == "__main__":
    main()
