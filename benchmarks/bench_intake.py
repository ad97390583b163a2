"""The split stage on many images: rate and memory, which must grow linearly at most.

    python -m benchmarks.bench_intake                  # 6,250, 12,500 and 25,000 images
    python -m benchmarks.bench_intake --counts 1000

Bars of issue 3: 25,000 images of 200 px in under 60 s on 2 cores, under 1 GiB.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np

SIDE_PX = 200


def main() -> None:
    """Prints a line per number of images, each measured in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[6_250, 12_500, 25_000])
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    first = 0.0
    with tempfile.TemporaryDirectory() as name:
        for n in args.counts:
            archive = write_archive(Path(name) / "raw.zip", n)
            with context.Pool(1) as pool:
                seconds, busy, megabytes = pool.apply(measure, (archive, n))
            first = first or seconds / n
            rates = f"{seconds:6.1f} s, {n / seconds:6,.0f} images/s, {busy:5.1f} s of processor"
            growth = f"{seconds / n / first:.2f} of the first's time each"
            print(f"{n:7,} images: {rates}, peak {megabytes:5,.0f} MB, {growth}")


def measure(archive: Path, n: int) -> tuple[float, float, float]:
    """Seconds, seconds of processor and peak MB of placing an archive's images."""
    from cvd.data.placement import place_images

    with tempfile.TemporaryDirectory(dir=archive.parent) as name:
        images = Path(name) / "images"
        images.mkdir()
        start = time.perf_counter()
        place_images(
            archive,
            images,
            Path(name) / "masks.zip",
            train=None,
            validation=n // 8,
            test=n // 8,
            seed=1,
            threads=min(8, os.cpu_count() or 1),
        )
        seconds = time.perf_counter() - start
    return seconds, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_archive(path: Path, n: int) -> Path:
    """A zip of n noisy JPEGs in Kaggle's layout, each different."""
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n):
            rng = np.random.default_rng(i)
            coarse = cv2.resize(
                rng.integers(0, 256, (7, 7, 3), np.uint8), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC
            )
            pixels = cv2.add(coarse, rng.integers(0, 24, coarse.shape, np.uint8))
            _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 75])
            archive.writestr(f"train/{'cat' if i % 2 else 'dog'}.{i // 2}.jpg", data.tobytes())
    return path


if __name__ == "__main__":
    main()
