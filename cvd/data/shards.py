"""Shards read at random: an index of records, checked checksums. No TensorFlow.

`cvd.data.records` writes standard TFRecord files, which `tf.data.TFRecordDataset` reads as well. Reading them here, at
the offsets of index.json, is as fast in order, allows any order without a shuffle buffer, and needs no TensorFlow.
"""

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvd.errors import InputError

INDEX = "index.json"
COLUMNS = ("offset", "length", "crc32", "image_offset", "image_length")


@dataclass(frozen=True)
class ShardedSplit:
    """Where a split's records are.

    Attributes:
        encoding: raw or jpeg.
        size_px: side of the images.
        paths: n paths, as in the manifest.
        labels: (n,), int64.
        files: the shards.
        records: (n, 6), int64: number of the shard, offset of the record in it (its TFRecord header included),
            length, zlib.crc32 of these bytes, offset of the encoded image in the record, its length.
    """

    encoding: str
    size_px: int
    paths: list[str]
    labels: np.ndarray
    files: list[Path]
    records: np.ndarray


def open_split(folder: str | Path, split: str) -> ShardedSplit:
    """Reads the index and compares the shards' sizes with it.

    Raises:
        InputError: the index is missing or unusable, the split is not in it, or a shard is missing or truncated.
    """
    folder = Path(folder)
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {folder / INDEX}: {error.strerror}; run the shard stage") from error
    except ValueError as error:
        raise InputError(f"{folder / INDEX} is not valid JSON: {error}; run the shard stage") from error
    if split not in index:
        raise InputError(f"split {split!r} is not in {folder / INDEX}, which has {', '.join(index)}")
    try:
        return _parse_split(folder, index[split])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / INDEX} cannot be used for {split}: {error!r}; run the shard stage") from error


def read_images(source: ShardedSplit, indices: np.ndarray, *, out: np.ndarray | None = None) -> list[np.ndarray]:
    """The encoded images of some examples, their records' checksums verified. A shard is opened once for all of them.

    Args:
        source: the split.
        indices: (b,), of the examples.
        out: (b, image_length) uint8, contiguous, to be filled from the files without a copy; else arrays are made.

    Returns:
        b arrays (image_length,), uint8.

    Raises:
        InputError: a shard is missing, or truncated or corrupted there.
    """
    descriptors: dict[int, int] = {}
    images = []
    try:
        for k, row in enumerate(source.records[indices].tolist()):
            number = row[0]
            if number not in descriptors:
                descriptors[number] = _open(source.files[number])
            image = np.empty(row[-1], np.uint8) if out is None else out[k]
            _read_record(source.files[number], descriptors[number], row, image.data)
            images.append(image)
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)
    return images


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"cannot read shard {file}: {error.strerror}; run the shard stage") from error


def _read_record(file: Path, descriptor: int, row: list[int], image: memoryview) -> None:
    """Fills `image` from the record of this row; without a shared position, so that threads do not disturb each other.

    What is read is all checked: the checksum is of the whole record, its TFRecord header included.
    """
    _, offset, length, crc32, image_offset, image_length = row
    before, after = bytearray(image_offset), bytearray(length - image_offset - image_length)
    if os.preadv(descriptor, (before, image, after), offset) != length:
        raise InputError(f"shard {file} is truncated at byte {offset}: run the shard stage")
    if zlib.crc32(after, zlib.crc32(image, zlib.crc32(before))) != crc32:
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
    return ShardedSplit(entry["encoding"], entry["size_px"], paths, labels, files, records)
