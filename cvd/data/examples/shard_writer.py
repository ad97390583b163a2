"""TFRecord shards: one tf.train.Example per image, and index.json beside them.

Features of a record: `image` (bytes: raw uint8 pixels in (h, w, 3) order, or a JPEG of quality 95), `encoding` (raw
or jpeg), `height`, `width`, `label`, `path`, `sha256` (of the file in data/images).
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from cvd.data.examples.shard_reader import COLUMNS, INDEX
from cvd.data.images.manifest import select_split
from cvd.data.images.pixels import encode_jpeg, limit_opencv_threads, load_image
from cvd.runtime.errors import InputError
from cvd.runtime.threads import map_ahead
from cvd.runtime.vocabulary import SPLITS

HEADER, FOOTER = 12, 4  # a TFRecord's length and its checksum before the data, the data's checksum after it
MEGABYTE = 1_000_000
_AHEAD = 32  # records made ahead of the writer

Span = tuple[int, int]  # an image in its record: its offset and its length, bytes


@dataclass(frozen=True)
class ShardRecord:
    """A serialised example, and where the image is in its TFRecord."""

    data: bytes
    image: Span


def write_shards(
    images_folder: str | Path,
    manifest: pd.DataFrame,
    folder: str | Path,
    *,
    size_px: int,
    encoding: str,
    size_mb: float,
    splits: Iterable[str] = SPLITS,
    progress: Callable[[Iterable[ShardRecord]], Iterable[ShardRecord]] | None = None,
) -> dict[str, Any]:
    """Write `{split}-00000-of-0000N.tfrecord` and index.json, the same bytes every time.

    Images are decoded, squashed and encoded on all cores; memory stays at a few dozen images.

    Args:
        images_folder: holds the manifest's paths.
        manifest: as of `read_manifest`; its order is kept.
        folder: exists; takes the files.
        size_px: side to which images are squashed.
        encoding: raw or jpeg.
        size_mb: a shard's largest size, in 1,000,000 bytes; a larger record gets its own shard.
        splits: which to write.
        progress: wraps the stream of records of all splits.

    Returns:
        The content of index.json: per split `encoding`, `size_px`, `n`, `paths`, `labels` and `shards`, each with
        `name`, `examples`, `bytes`, `sha256` and `records`, the columns that `shard_reader` reads at random by.

    Raises:
        InputError: a split is empty, an image is missing or cannot be decoded, `encoding` is unknown.
    """
    if encoding not in ("raw", "jpeg"):
        raise InputError(f"shard.encoding is {encoding!r}: it must be raw or jpeg")
    limit_opencv_threads()
    rows = {split: select_split(manifest, split) for split in splits}
    for split, chosen in rows.items():
        if chosen.empty:
            raise InputError(f"split {split!r} holds no images: the manifest must have rows of it")
    images = pd.concat(rows.values())
    columns = zip(images["path"].astype(str), images["label"].astype(int), images["sha256"].astype(str), strict=True)

    def make(row: tuple[str, int, str]) -> ShardRecord:
        path, label, sha256 = row
        file = Path(images_folder, path)
        return make_record(file, path=path, label=label, sha256=sha256, size_px=size_px, encoding=encoding)

    records = map_ahead(make, columns, n_ahead=_AHEAD)
    stream = iter(progress(records) if progress else records)
    index: dict[str, Any] = {}
    for split, chosen in rows.items():
        index[split] = {
            "encoding": encoding,
            "size_px": size_px,
            "n": len(chosen),
            "paths": chosen["path"].astype(str).tolist(),
            "labels": chosen["label"].astype(int).tolist(),
            "shards": _write_split(islice(stream, len(chosen)), Path(folder), split, limit=int(size_mb * MEGABYTE)),
        }
    for _ in stream:  # lets a progress bar end
        pass
    Path(folder, INDEX).write_text(render_index(index), encoding="utf-8")
    return index


def make_record(file: Path, *, path: str, label: int, sha256: str, size_px: int, encoding: str) -> ShardRecord:
    """Decode, squash, encode and serialise one image; InputError where it is missing or cannot be decoded."""
    pixels = load_image(file, size_px)
    image = pixels.tobytes() if encoding == "raw" else encode_jpeg(pixels)
    features = {
        "image": _bytes(image),
        "encoding": _bytes(encoding.encode()),
        "height": _int(size_px),
        "width": _int(size_px),
        "label": _int(label),
        "path": _bytes(path.encode()),
        "sha256": _bytes(sha256.encode()),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    data = example.SerializeToString(deterministic=True)
    return ShardRecord(data, (HEADER + _find(image, data), len(image)))


def render_index(index: dict[str, Any]) -> str:
    """Render JSON with one line for each plain list; `indent` would give one for each number."""
    return _render(index, "") + "\n"


def _render(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {_render(entry, inner)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return "[\n" + ",\n".join(inner + _render(entry, inner) for entry in value) + f"\n{indent}]"
    return json.dumps(value)


def _write_split(records: Iterator[ShardRecord], folder: Path, split: str, *, limit: int) -> list[dict[str, Any]]:
    """Fill one shard after the other, and name them once their number is known."""
    shards = _fill_shards(records, folder / f"{split}.partial", limit)
    described = list(map_ahead(_describe_shard, shards, n_ahead=1, n_threads=1))
    entries = []
    for number, (file, entry) in enumerate(described):
        name = f"{split}-{number:05d}-of-{len(described):05d}.tfrecord"
        file.rename(folder / name)
        entries.append({"name": name} | entry)
    return entries


def _fill_shards(records: Iterator[ShardRecord], file: Path, limit: int) -> Iterator[tuple[Path, list[Span]]]:
    """Yield each shard's file, once written, and the spans of its images."""
    number = size = 0

    def number_shard(record: ShardRecord) -> int:
        nonlocal number, size
        n_bytes = HEADER + len(record.data) + FOOTER
        if size and size + n_bytes > limit:
            number, size = number + 1, 0
        size += n_bytes
        return number

    for shard, part in groupby(records, number_shard):
        path, images = file.with_suffix(f".{shard}.partial"), []
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in part:
                writer.write(record.data)
                images.append(record.image)
        yield path, images


def _describe_shard(shard: tuple[Path, list[Span]]) -> tuple[Path, dict[str, Any]]:
    """Read a shard back, record by record."""
    file, images = shard
    digest, rows, offset = hashlib.sha256(), [], 0
    with file.open("rb") as stream:
        for start, length in images:
            header = stream.read(HEADER)
            data = header + stream.read(int.from_bytes(header[:8], "little") + FOOTER)
            digest.update(data)
            stop = start + length
            image_crc32, rest_crc32 = zlib.crc32(data[start:stop]), zlib.crc32(data[stop:], zlib.crc32(data[:start]))
            rows.append((offset, len(data), start, length, image_crc32, rest_crc32))
            offset += len(data)
    records = {name: list(column) for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=True)}
    return file, {"examples": len(images), "bytes": offset, "sha256": digest.hexdigest(), "records": records}


def _find(image: bytes, data: bytes) -> int:
    """Find the image in the serialised example; `data.index(image)` takes longer than to decode it."""
    start = data.index(image[:64])
    while not data.startswith(image, start):
        start = data.index(image[:64], start + 1)
    return start


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
