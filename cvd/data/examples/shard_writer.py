"""TFRecord shards: one tf.train.Example per image, and index.json beside them.

Features of a record: `image` (bytes: raw uint8 pixels in (h, w, 3) order, or a JPEG of quality 95), `encoding` (raw
or jpeg), `height`, `width`, `label`, `path`, `sha256` (of the file in data/images).
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from cvd.data.examples.shard_reader import COLUMNS, INDEX
from cvd.data.images.manifest import SPLITS, select_split
from cvd.data.images.pixels import encode_jpeg, limit_opencv_threads, load_image
from cvd.runtime.errors import InputError
from cvd.runtime.threads import count_cores

HEADER, FOOTER = 12, 4  # a TFRecord's length and its checksum before the data, the data's checksum after it
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Record:
    """A serialised example: `data`, and where the image is in it."""

    path: str
    label: int
    data: bytes
    image_offset: int
    image_length: int


def write_shards(
    images_folder: str | Path,
    manifest: pd.DataFrame,
    folder: str | Path,
    *,
    size_px: int,
    encoding: str,
    size_mb: float,
    splits: Iterable[str] = SPLITS,
    progress: Callable[[Iterable[Record]], Iterable[Record]] | None = None,
) -> dict[str, Any]:
    """Writes `{split}-00000-of-0000N.tfrecord` and index.json, the same bytes every time.

    Images are decoded, squashed and encoded on all cores; memory stays at a few dozen images.

    Args:
        images_folder: holds the manifest's paths.
        manifest: as `read_manifest` gives it; `path`, `label`, `split` and `sha256` are used, in its order.
        folder: exists; the files are written into it.
        size_px: side to which images are squashed.
        encoding: raw or jpeg.
        size_mb: a shard's largest size in MB of 1,000,000 bytes; a single larger record has a shard of its own.
        splits: which to write.
        progress: wraps the stream of records of all splits.

    Returns:
        What index.json holds: per split `encoding`, `size_px`, `n`, `paths`, `labels` and `shards`, each with `name`,
        `examples`, `bytes`, `sha256` and `records`, the columns that `shard_reader` reads at random by.

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
    index: dict[str, Any] = {}
    with ThreadPoolExecutor(count_cores()) as pool:
        records = _make_records(pool, Path(images_folder), pd.concat(rows.values()), size_px=size_px, encoding=encoding)
        stream = iter(progress(records) if progress else records)
        for split, chosen in rows.items():
            entry = _write_split(pool, islice(stream, len(chosen)), Path(folder), split, limit=int(size_mb * MEGABYTE))
            index[split] = {"encoding": encoding, "size_px": size_px, "n": len(chosen)} | entry
        for _ in stream:  # lets a progress bar end
            pass
    Path(folder, INDEX).write_text(render_index(index), encoding="utf-8")
    return index


def make_record(file: Path, *, path: str, label: int, sha256: str, size_px: int, encoding: str) -> Record:
    """Decodes, squashes, encodes and serialises one image.

    Raises:
        InputError: the file is missing or cannot be decoded.
    """
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
    return Record(path, label, data, HEADER + _find(image, data), len(image))


def render_index(index: dict[str, Any]) -> str:
    """JSON with a line for each plain list, readable where `indent` would give a line for each number."""
    return _render(index, "") + "\n"


def _render(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {_render(each, inner)}" for key, each in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return "[\n" + ",\n".join(inner + _render(each, inner) for each in value) + f"\n{indent}]"
    return json.dumps(value)


def _make_records(
    pool: ThreadPoolExecutor, images_folder: Path, rows: pd.DataFrame, *, size_px: int, encoding: str
) -> Iterator[Record]:
    """Records in the rows' order, made on the pool's threads, at most a few dozen ahead of the writer."""
    columns = zip(rows["path"].astype(str), rows["label"].astype(int), rows["sha256"].astype(str), strict=True)

    def make(row: tuple[str, int, str]) -> Record:
        path, label, sha256 = row
        file = images_folder / path
        return make_record(file, path=path, label=label, sha256=sha256, size_px=size_px, encoding=encoding)

    waiting = [pool.submit(make, row) for row in islice(columns, 32)]
    while waiting:
        yield waiting.pop(0).result()
        waiting.extend(pool.submit(make, row) for row in islice(columns, 1))


def _write_split(
    pool: ThreadPoolExecutor, records: Iterator[Record], folder: Path, split: str, *, limit: int
) -> dict[str, Any]:
    """Fills one shard after the other, and names them once their number is known.

    A finished shard is read back on the pool while the next one is filled.
    """
    paths: list[str] = []
    labels: list[int] = []
    kept: list[Record] = []
    shards: list[Future[dict[str, Any]]] = []
    writer, size = None, 0

    def finish() -> None:
        if writer is not None:
            writer.close()
            shards.append(pool.submit(_describe_shard, _name_partial(folder, split, len(shards)), kept))

    for record in records:
        length = HEADER + len(record.data) + FOOTER
        if writer is None or size + length > limit:
            finish()
            writer, size, kept = tf.io.TFRecordWriter(str(_name_partial(folder, split, len(shards)))), 0, []
        writer.write(record.data)
        size += length
        # The data is on its way to the disk; only the measures are kept.
        kept.append(Record(record.path, record.label, b"", record.image_offset, record.image_length))
        paths.append(record.path)
        labels.append(record.label)
    finish()
    entries = []
    for number, described in enumerate(shards):
        entry, name = described.result(), f"{split}-{number:05d}-of-{len(shards):05d}.tfrecord"
        _name_partial(folder, split, number).rename(folder / name)
        entries.append({"name": name} | entry)
    return {"paths": paths, "labels": labels, "shards": entries}


def _name_partial(folder: Path, split: str, number: int) -> Path:
    return folder / f"{split}.{number}.partial"


def _describe_shard(file: Path, kept: list[Record]) -> dict[str, Any]:
    """Reads a shard back, record by record."""
    digest, columns, offset = hashlib.sha256(), [], 0
    with file.open("rb") as stream:
        for record in kept:
            header = stream.read(HEADER)
            data = header + stream.read(int.from_bytes(header[:8], "little") + FOOTER)
            digest.update(data)
            start, stop = record.image_offset, record.image_offset + record.image_length
            image_crc32, rest_crc32 = zlib.crc32(data[start:stop]), zlib.crc32(data[stop:], zlib.crc32(data[:start]))
            columns.append((offset, len(data), start, stop - start, image_crc32, rest_crc32))
            offset += len(data)
    table = {name: list(column) for name, column in zip(COLUMNS, zip(*columns, strict=True), strict=True)}
    return {"examples": len(kept), "bytes": offset, "sha256": digest.hexdigest(), "records": table}


def _find(image: bytes, data: bytes) -> int:
    """Where the image begins in the serialised example. A plain `data.index(image)` takes longer than to decode it."""
    start = data.index(image[:64])
    while not data.startswith(image, start):
        start = data.index(image[:64], start + 1)
    return start


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
