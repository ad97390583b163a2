"""A zip of drawn images and their masks, byte-identical for the same arguments."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from cvd.data.drawn.camera import encode_jpeg
from cvd.data.drawn.picture import draw
from cvd.runtime.threads import count_cores
from cvd.runtime.vocabulary import CATS_AND_DOGS

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest
_CHUNK = 16  # images a worker draws at once
_MAX_WORKERS = 8
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 2**25

Members = list[tuple[str, bytes]]
Task = tuple[str, int, int, int, float]  # label, first index, last index + 1, seed, leak


def write_drawn_archive(
    path: str | os.PathLike[str],
    *,
    n_per_class: int = 800,
    seed: int,
    leak: float = 0.0,
    progress: Callable[[Iterable[Members]], Iterable[Members]] | None = None,
) -> None:
    """Draw a whole set into an uncompressed zip, in parallel.

    Members: `cat/cat.0.jpg` ... `dog/dog.N.jpg`, and for each `masks/animal/cat.0.png`,
    `masks/head/cat.0.png` (8-bit grey, 0 or 255). Behind a leaked one `cat/copy-of-cat.0.jpg`, without masks.

    Args:
        path: the zip to write; after an error a part of it stays, so give a temporary one.
        n_per_class: cats, and as many dogs, >= 1.
        seed: number of the set, >= 0.
        leak: share of the images that are there again as near-copies, spread evenly over each class; 0 to 1.
        progress: wraps the stream of finished images, as tqdm does.

    Raises:
        ValueError: `n_per_class` or `seed` out of range.
    """
    if n_per_class < 1 or seed < 0:
        raise ValueError(f"need n_per_class >= 1 and seed >= 0, got n_per_class={n_per_class}, seed={seed}")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        images: Iterable[Members] = _draw_in_parallel(n_per_class, seed, leak)
        for members in progress(images) if progress else images:
            for name, data in members:
                archive.writestr(_describe_member(name), data)


def _describe_member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIMESTAMP)
    info.external_attr = 0o644 << 16
    info.create_system = 3  # the same on every system
    return info


def _draw_in_parallel(n_per_class: int, seed: int, leak: float) -> Iterator[Members]:
    """Yield each image's members, in order."""
    tasks: list[Task] = [
        (label, first, min(first + _CHUNK, n_per_class), seed, leak)
        for label in CATS_AND_DOGS
        for first in range(0, n_per_class, _CHUNK)
    ]
    workers = min(_MAX_WORKERS, len(tasks), count_cores())
    if workers == 1:
        for task in tasks:
            yield from _draw_chunk(task)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        waiting = iter(tasks)
        running: deque[Future[list[Members]]] = deque(
            pool.submit(_draw_chunk, task) for task in islice(waiting, 3 * workers)
        )  # a window, which bounds the memory
        while running:
            chunk = running.popleft().result()
            running.extend(pool.submit(_draw_chunk, task) for task in islice(waiting, 1))
            yield from chunk


def _start_worker() -> None:
    """Draw on one thread, and keep freed memory: to give it back and fetch it again takes a twentieth of the time."""
    cv2.setNumThreads(1)
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)


def _draw_chunk(task: Task) -> list[Members]:
    label, first, stop, seed, leak = task
    images: list[Members] = []
    for index in range(first, stop):
        drawing = draw(label, index, seed)
        stem = f"{label}.{index}"
        images.append([
            (f"{label}/{stem}.jpg", drawing.jpeg),
            (f"masks/animal/{stem}.png", _encode_png(drawing.animal)),
            (f"masks/head/{stem}.png", _encode_png(drawing.head)),
        ])  # fmt: skip
        if int((index + 1) * leak) > int(index * leak):
            rng = np.random.default_rng([seed, CATS_AND_DOGS.index(label), index])
            images[-1].append((f"{label}/copy-of-{stem}.jpg", _copy_nearly(drawing.image, rng)))
    return images


def _copy_nearly(image: NDArray[np.uint8], rng: np.random.Generator) -> bytes:
    """Copy a picture (h, w, 3) as it is met on the net: smaller, compressed again, half of them mirrored."""
    scale = rng.uniform(0.6, 0.95)
    small = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_jpeg(small[:, ::-1] if rng.random() < 0.5 else small, rng)


def _encode_png(mask: NDArray[np.uint8]) -> bytes:
    ok, data = cv2.imencode(".png", mask)
    if not ok:
        raise RuntimeError(f"OpenCV could not encode a PNG of shape {mask.shape}")
    return data.tobytes()
