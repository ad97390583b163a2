"""TFRecord shards: the same bytes every time, readable by TensorFlow, refused when damaged."""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cvd.data.examples.reading import read_shards
from cvd.data.examples.shard_reader import MOST_OPEN, open_split, read_images
from cvd.data.examples.shard_writer import make_record, render_index, write_shards
from cvd.data.examples.shares import hold_part
from cvd.data.images.pixels import decode_image, encode_jpeg, load_image
from cvd.runtime.errors import InputError

SIZE = 24
N_TRAIN, N_TEST = 11, 3


@pytest.fixture(scope="module")
def images_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(N_TRAIN + N_TEST):
        image = rng.integers(0, 256, (30 + number, 40, 3), dtype=np.uint8)
        (folder / f"{number}.jpg").write_bytes(encode_jpeg(image))
    return folder


@pytest.fixture(scope="module")
def manifest(images_folder: Path) -> pd.DataFrame:
    rows = [
        {
            "path": f"{number}.jpg",
            "label": number % 2,
            "split": "train" if number < N_TRAIN else "test",
            "sha256": hashlib.sha256((images_folder / f"{number}.jpg").read_bytes()).hexdigest(),
        }
        for number in range(N_TRAIN + N_TEST)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)  # the manifest's order rules


def write(images_folder: Path, manifest: pd.DataFrame, folder: Path, *, encoding: str = "raw") -> dict:
    """Six raw records fit into a shard; JPEG's are smaller."""
    folder.mkdir(exist_ok=True)
    return write_shards(
        images_folder,
        manifest,
        folder,
        size_px=SIZE,
        encoding=encoding,
        size_mb=0.0125,
        splits=("train", "test"),
    )


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_twice_gives_the_same_bytes(images_folder: Path, manifest: pd.DataFrame, tmp_path: Path, encoding: str) -> None:
    write(images_folder, manifest, tmp_path / "a", encoding=encoding)
    write(images_folder, manifest, tmp_path / "b", encoding=encoding)
    assert read_all(tmp_path / "a") == read_all(tmp_path / "b")


def test_index_describes_the_shards(images_folder: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    returned = write(images_folder, manifest, tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    assert index == returned
    train = index["train"]
    assert (train["encoding"], train["size_px"], train["n"]) == ("raw", SIZE, N_TRAIN)
    assert train["paths"] == manifest.loc[manifest["split"] == "train", "path"].tolist()
    assert train["labels"] == manifest.loc[manifest["split"] == "train", "label"].tolist()
    names = [f"train-{number:05d}-of-00002.tfrecord" for number in range(2)]
    assert [shard["name"] for shard in train["shards"]] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "test-00000-of-00001.tfrecord", *names]
    assert sum(shard["examples"] for shard in train["shards"]) == N_TRAIN
    for shard in train["shards"]:
        content = (tmp_path / shard["name"]).read_bytes()
        assert len(content) == shard["bytes"] <= 12_500
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_tensorflow_reads_the_records(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path, encoding: str
) -> None:
    import tensorflow as tf

    write(images_folder, manifest, tmp_path, encoding=encoding)
    files = sorted(str(path) for path in tmp_path.glob("train-*.tfrecord"))
    rows = manifest[manifest["split"] == "train"].to_dict("records")
    for data, row in zip(tf.data.TFRecordDataset(files).as_numpy_iterator(), rows, strict=True):
        feature = tf.train.Example.FromString(data).features.feature
        image = feature["image"].bytes_list.value[0]
        pixels = load_image(images_folder / row["path"], SIZE)
        assert image == (pixels.tobytes() if encoding == "raw" else encode_jpeg(pixels))
        assert feature["encoding"].bytes_list.value[0] == encoding.encode()
        assert feature["path"].bytes_list.value[0] == row["path"].encode()
        assert feature["sha256"].bytes_list.value[0] == row["sha256"].encode()
        numbers = [feature[name].int64_list.value[0] for name in ("height", "width", "label")]
        assert numbers == [SIZE, SIZE, row["label"]]


@pytest.mark.parametrize("memory_bytes", [0, 10**9])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_round_trip(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path, encoding: str, memory_bytes: int
) -> None:
    write(images_folder, manifest, tmp_path, encoding=encoding)
    examples = hold_part(read_shards(tmp_path, "train"), range(N_TRAIN), memory_bytes=memory_bytes)
    for index, path in enumerate(examples.paths):
        pixels = load_image(images_folder / path, SIZE)
        expected = pixels if encoding == "raw" else decode_image(encode_jpeg(pixels))
        np.testing.assert_array_equal(examples.fetch(np.array([index]))[0], expected)


def test_an_image_is_found_in_its_record_whatever_it_looks_like(tmp_path: Path) -> None:
    import tensorflow as tf

    for value in (0, 10, 116, 255):  # 10 is the tag of a bytes field, 116 the letter t of "test"
        file = tmp_path / "plain.png"
        cv2.imwrite(str(file), np.full((SIZE, SIZE, 3), value, np.uint8))
        record = make_record(file, path="t" * 80, label=1, sha256="f" * 64, size_px=SIZE, encoding="raw")
        feature = tf.train.Example.FromString(record.data).features.feature
        start = record.image[0] - 12  # of the TFRecord's header
        assert record.data[start : start + record.image[1]] == feature["image"].bytes_list.value[0]


def test_progress_sees_every_image(images_folder: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    import tensorflow as tf

    seen: list[str] = []

    def watch(records):
        for record in records:
            seen.append(tf.train.Example.FromString(record.data).features.feature["path"].bytes_list.value[0].decode())
            yield record

    write_shards(
        images_folder,
        manifest,
        tmp_path,
        size_px=SIZE,
        encoding="raw",
        size_mb=1,
        splits=("test", "train"),
        progress=watch,
    )
    assert sorted(seen) == sorted(manifest["path"])


def test_refuses_an_empty_split_and_an_unknown_encoding(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="split 'validation' holds no images"):
        write_shards(images_folder, manifest, tmp_path, size_px=SIZE, encoding="raw", size_mb=1)
    with pytest.raises(InputError, match=r"shard.encoding is 'png': it must be raw or jpeg"):
        write(images_folder, manifest, tmp_path, encoding="png")


def test_a_broken_image_stops_the_writing(images_folder: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read image .*missing\.jpg"):
        write(images_folder, manifest.replace({"path": {"3.jpg": "missing.jpg"}}), tmp_path)


def test_a_missing_or_truncated_shard_is_named(images_folder: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    write(images_folder, manifest, tmp_path)
    shard = tmp_path / "train-00001-of-00002.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"train-00001-of-00002\.tfrecord has .* bytes, its index says"):
        read_shards(tmp_path, "train")
    shard.unlink()
    with pytest.raises(InputError, match=r"train-00001-of-00002\.tfrecord is missing"):
        read_shards(tmp_path, "train")


def test_a_shard_that_changes_after_opening_is_named(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    write(images_folder, manifest, tmp_path)
    source = open_split(tmp_path, "test")
    never_read = open_split(tmp_path, "test")
    shard = tmp_path / "test-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    read_images(source, np.array([0]))
    with pytest.raises(InputError, match="is truncated at byte"):
        read_images(source, np.arange(N_TEST))
    shard.unlink()
    read_images(source, np.array([0]))  # an open file can still be read
    with pytest.raises(InputError, match=r"cannot read shard .*No such file"):
        read_images(never_read, np.array([0]))


def list_open(folder: Path) -> list[str]:
    """Files of a folder that this process has open."""
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [file for file in opened if file.startswith(str(folder))]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
@pytest.mark.parametrize("most_open", [1, MOST_OPEN])
def test_shards_stay_open_a_few_at_a_time_and_are_closed_with_their_split(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_open: int
) -> None:
    monkeypatch.setattr("cvd.data.examples.shard_reader.MOST_OPEN", most_open)
    n_shards = len(write(images_folder, manifest, tmp_path)["train"]["shards"])
    assert n_shards > 1
    source = open_split(tmp_path, "train")
    assert list_open(tmp_path) == []
    expected = np.stack(read_images(source, np.arange(N_TRAIN)))
    assert len(list_open(tmp_path)) == min(n_shards, most_open)

    orders = [np.random.default_rng(seed).permutation(N_TRAIN) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:  # where only one may be open, they take each other's place
        for order, images in zip(orders, pool.map(partial(read_images, source), orders), strict=True):
            np.testing.assert_array_equal(images, expected[order])
    assert len(list_open(tmp_path)) == min(n_shards, most_open)
    del source
    assert list_open(tmp_path) == []


@pytest.mark.parametrize("memory_bytes", [0, 10**9])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_any_changed_byte_is_found(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path, encoding: str, memory_bytes: int
) -> None:
    write(images_folder, manifest, tmp_path, encoding=encoding)
    shard = tmp_path / "test-00000-of-00001.tfrecord"
    content = shard.read_bytes()
    offsets = json.loads((tmp_path / "index.json").read_text())["test"]["shards"][0]["records"]["offset"]
    for position in np.linspace(0, len(content) - 1, 25).astype(int):
        damaged = bytearray(content)
        damaged[position] ^= 1
        shard.write_bytes(damaged)
        offset = max(each for each in offsets if each <= position)
        with pytest.raises(InputError, match=rf"test-00000-of-00001\.tfrecord is corrupted: .* at byte {offset};"):
            hold_part(read_shards(tmp_path, "test"), range(N_TEST), memory_bytes=memory_bytes).fetch(np.arange(N_TEST))


def test_images_that_changed_places_are_found(images_folder: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    index = write(images_folder, manifest, tmp_path)
    shard = tmp_path / "test-00000-of-00001.tfrecord"
    records = index["test"]["shards"][0]["records"]
    starts = [sum(each) for each in zip(records["offset"], records["image_offset"], strict=True)]
    content = bytearray(shard.read_bytes())
    first, second = (slice(start, start + records["image_length"][0]) for start in starts[:2])
    content[first], content[second] = content[second], content[first]
    shard.write_bytes(content)
    with pytest.raises(InputError, match="is corrupted: bad checksum of the record at byte 0;"):
        read_shards(tmp_path, "test").fetch(np.arange(N_TEST))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("offset", -1),
        ("image_offset", -1),
        ("image_offset", 10**6),
        ("image_length", 0),
        ("image_length", SIZE),
        ("image_crc32", 2**32),
        ("rest_crc32", -1),
    ],
)
def test_numbers_of_the_index_that_do_not_fit_together_are_refused(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path, column: str, value: int
) -> None:
    index = write(images_folder, manifest, tmp_path)
    index["test"]["shards"][0]["records"][column][1] = value
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"cannot be used for test: .*record 1 do not fit together.*; run the shard"):
        read_shards(tmp_path, "test")


def test_an_index_of_an_earlier_version_asks_for_the_shard_stage(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    index = write(images_folder, manifest, tmp_path)
    for shard in index["train"]["shards"]:
        shard["records"]["crc32"] = shard["records"].pop("image_crc32")
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"cannot be used for train: .*; run the shard stage"):
        read_shards(tmp_path, "train")


def test_a_fault_of_the_disk_is_named(
    images_folder: Path, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(5, "Input/output error")

    write(images_folder, manifest, tmp_path)
    source = open_split(tmp_path, "test")
    monkeypatch.setattr("os.preadv", fail)
    with pytest.raises(InputError, match=r"cannot read shard .*tfrecord: Input/output error$"):
        read_images(source, np.array([0]))


def test_a_missing_or_unusable_index_is_named(images_folder: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index\.json is not there: run `dvc repro`"):
        read_shards(tmp_path, "train")
    index = write(images_folder, manifest, tmp_path)
    with pytest.raises(InputError, match=r"split 'validation' is not in .*which has train, test"):
        read_shards(tmp_path, "validation")
    index["train"]["labels"].pop()
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="cannot be used for train"):
        read_shards(tmp_path, "train")
    del index["train"]["shards"][0]["bytes"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="cannot be used for train"):
        read_shards(tmp_path, "train")
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(InputError, match=r"index\.json is damaged"):
        read_shards(tmp_path, "train")


def test_index_is_json_with_a_line_per_list() -> None:
    value = {"a": {"numbers": [1, 2, 3], "parts": [{"x": 1}, {"x": [2]}], "none": []}, "b": "é"}
    text = render_index(value)
    assert json.loads(text) == value
    assert '    "numbers": [1, 2, 3],\n' in text
