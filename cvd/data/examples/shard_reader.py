"""Shards read at random, at the offsets of index.json, with all checksums verified. No TensorFlow."""

import os
import weakref
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from cvd.data.examples.checksums import chain_crc32
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json

INDEX = "index.json"
COLUMNS = ("offset", "length", "image_offset", "image_length", "image_crc32", "rest_crc32")
MOST_OPEN = 64  # shards of a split; a process may often have no more than 1,024 files open


class OpenShard:
    """A shard, open until nobody holds it any more; InputError where it cannot be opened or read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._descriptor = os.open(file, os.O_RDONLY)
        except OSError as error:
            raise _explain(file, error) from error
        weakref.finalize(self, os.close, self._descriptor).atexit = False  # threads may still read then

    def read_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Fill the buffers from the byte at `offset`, without a shared position; return how many bytes there were."""
        try:
            return os.preadv(self._descriptor, buffers, offset)
        except OSError as error:
            raise _explain(self._file, error) from error


def _explain(file: Path, error: OSError) -> InputError:
    advice = "; run the shard stage" if isinstance(error, FileNotFoundError) else ""
    return InputError(f"cannot read shard {file}: {error.strerror}{advice}")


def _keep_open() -> Callable[[Path], OpenShard]:
    return lru_cache(MOST_OPEN)(OpenShard)


@dataclass(frozen=True)
class ShardedSplit:
    """Where a split's records are, and the open shards; not to be pickled."""

    encoding: str  # raw or jpeg
    size_px: int  # side of the images
    paths: list[str]  # n paths, as in the manifest
    labels: np.ndarray  # (n,) int64
    files: list[Path]
    # (n, 7) int64: number of the shard, then COLUMNS: the record's offset (its TFRecord header included) and length,
    # the encoded image's offset in it and length, zlib.crc32 of the image and of all other bytes
    records: np.ndarray
    open_shard: Callable[[Path], OpenShard] = field(init=False, default_factory=_keep_open, compare=False, repr=False)


def open_split(folder: str | Path, split: str) -> ShardedSplit:
    """Read the index and compare the shards' sizes with it.

    Raises:
        InputError: the index is missing or unusable, the split is not in it, or a shard is missing or truncated.
    """
    folder = Path(folder)
    index = read_json(folder / INDEX)
    if split not in index:
        raise InputError(f"split {split!r} is not in {folder / INDEX}, which has {', '.join(index)}")
    try:
        return _parse_split(folder, index[split])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / INDEX} cannot be used for {split}: {error!r}; run the shard stage") from error


def read_images(source: ShardedSplit, indices: np.ndarray, *, out: np.ndarray | None = None) -> list[np.ndarray]:
    """Read the encoded images at indices (b,), and verify all bytes of their records by checksums.

    They fill `out`, (b, image_length) uint8, contiguous, or new arrays (image_length,) uint8.

    Raises:
        InputError: a shard is missing, or truncated or corrupted there.
    """
    rows = source.records[indices].tolist()
    images = [np.empty(row[4], np.uint8) for row in rows] if out is None else list(out)
    for row, image in zip(rows, images, strict=True):
        _read_record(source, row, image.data)
    # Every call of zlib releases Python's lock and waits to get it back: one call for all, where possible.
    is_checked = out is not None and zlib.crc32(out.data) == chain_crc32((row[5] for row in rows), out.shape[1])
    if not is_checked:  # JPEGs, which differ in length; else to find out which image is bad
        for row, image in zip(rows, images, strict=True):
            _check(source, row, zlib.crc32(image.data), row[5])
    return images


def _read_record(source: ShardedSplit, row: list[int], image: memoryview) -> None:
    """Fill `image` from the record of this row, and check all bytes but the image's."""
    number, offset, length, image_offset, image_length, _, rest_crc32 = row
    file = source.files[number]
    before, after = bytearray(image_offset), bytearray(length - image_offset - image_length)
    if source.open_shard(file).read_into((before, image, after), offset) != length:
        raise InputError(f"shard {file} is truncated at byte {offset}: run the shard stage")
    _check(source, row, zlib.crc32(after, zlib.crc32(before)), rest_crc32)


def _check(source: ShardedSplit, row: list[int], crc32: int, expected: int) -> None:
    if crc32 != expected:
        file, offset = source.files[row[0]], row[1]
        raise InputError(f"shard {file} is corrupted: bad checksum of the record at byte {offset}; run the shard stage")


def _parse_split(folder: Path, entry: dict) -> ShardedSplit:
    tables = []
    for number, shard in enumerate(entry["shards"]):
        file = folder / shard["name"]
        if not file.is_file():
            raise InputError(f"shard {file} is missing: run the shard stage")
        if file.stat().st_size != shard["bytes"]:
            raise InputError(
                f"shard {file} has {file.stat().st_size} bytes, its index says {shard['bytes']}: run the shard stage"
            )
        columns = [np.asarray(shard["records"][column], np.int64) for column in COLUMNS]
        tables.append(np.stack([np.full(shard["examples"], number), *columns], axis=1))
    files = [folder / shard["name"] for shard in entry["shards"]]
    paths, labels = list(entry["paths"]), np.asarray(entry["labels"], np.int64)
    records = np.concatenate(tables)
    if not 0 < len(records) == len(paths) == len(labels):
        raise ValueError(f"{len(records)} records, {len(paths)} paths, {len(labels)} labels")
    _check_records(records, entry["size_px"] ** 2 * 3 if entry["encoding"] == "raw" else None)
    return ShardedSplit(entry["encoding"], entry["size_px"], paths, labels, files, records)


def _check_records(records: np.ndarray, n_pixel_bytes: int | None) -> None:
    """Raise ValueError where a record's numbers contradict each other."""
    _, offset, length, image_offset, image_length, *checksums = records.T
    fits = (offset >= 0) & (image_offset >= 0) & (image_length > 0) & (image_offset + image_length <= length)
    for checksum in checksums:
        fits &= (checksum >= 0) & (checksum < 2**32)
    if n_pixel_bytes is not None:
        fits &= image_length == n_pixel_bytes
    if not fits.all():
        raise ValueError(f"the numbers of record {fits.argmin()} do not fit together")
