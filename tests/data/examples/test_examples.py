"""Files, shards and features behind one interface."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cvd.data.examples.reading import Examples, read_features, read_files, read_shards
from cvd.data.examples.shares import hold_part
from cvd.data.images.pixels import encode_jpeg, load_image
from cvd.runtime.errors import InputError

SIZE, N = 24, 37


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    (folder / "train").mkdir()
    for number in range(N):
        (folder / f"train/{number}.jpg").write_bytes(encode_jpeg(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)))
    return folder


@pytest.fixture(scope="module")
def manifest() -> pd.DataFrame:
    rows = [{"path": f"train/{k}.jpg", "label": k % 2, "split": "train", "sha256": f"{k:064x}"} for k in range(N)]
    return pd.DataFrame([*rows, {"path": "", "label": 0, "split": "unused", "sha256": "0" * 64}])


@pytest.mark.parametrize("memory_bytes", [0, 10**9])
def test_files_are_fetched_in_any_order(folder: Path, manifest: pd.DataFrame, memory_bytes: int) -> None:
    examples = hold_part(read_files(folder, manifest, "train", size_px=SIZE), range(N), memory_bytes=memory_bytes)
    assert len(examples) == N
    assert (examples.shape, examples.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert examples.paths == manifest["path"].tolist()[:N]
    np.testing.assert_array_equal(examples.labels, np.arange(N) % 2)
    assert examples.labels.dtype == np.int64
    indices = np.array([5, 0, 36, 5])
    images = examples.fetch(indices)
    assert (images.shape, images.dtype) == ((4, SIZE, SIZE, 3), np.uint8)
    for image, index in zip(images, indices, strict=True):
        np.testing.assert_array_equal(image, load_image(folder / examples.paths[index], SIZE))


def test_files_and_raw_shards_are_the_same_kept_or_streamed(
    folder: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    from cvd.data.examples.shard_writer import write_shards

    write_shards(folder, manifest, tmp_path, size_px=SIZE, encoding="raw", size_mb=1, splits=["train"])
    size = N * SIZE * SIZE * 3
    streamed = [read_files(folder, manifest, "train", size_px=SIZE), read_shards(tmp_path, "train")]
    found = [hold_part(each, range(N), memory_bytes=n_bytes) for each in streamed for n_bytes in (size, size - 1)]
    assert [any(each is other for other in streamed) for each in found] == [False, True] * 2
    for other in found[1:]:
        assert other.paths == found[0].paths
        np.testing.assert_array_equal(other.labels, found[0].labels)
        np.testing.assert_array_equal(other.fetch(np.arange(N)), found[0].fetch(np.arange(N)))


def test_kept_images_need_their_files_no_more(folder: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    copy = tmp_path / "train"
    copy.mkdir()
    for path in (folder / "train").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    streamed = read_files(tmp_path, manifest, "train", size_px=SIZE)
    kept = hold_part(streamed, range(N), memory_bytes=10**9)
    for path in copy.iterdir():
        path.unlink()
    assert kept.fetch(np.arange(N)).shape == (N, SIZE, SIZE, 3)
    with pytest.raises(InputError, match=r"cannot read image .*0\.jpg"):
        streamed.fetch(np.array([0]))


def test_a_fetched_array_is_the_callers_own(folder: Path, manifest: pd.DataFrame) -> None:
    examples = hold_part(read_files(folder, manifest, "train", size_px=SIZE), range(N), memory_bytes=10**9)
    before = examples.fetch(np.arange(3))
    examples.fetch(np.arange(3))[:] = 0
    np.testing.assert_array_equal(examples.fetch(np.arange(3)), before)


def test_threads_may_fetch_at_once(folder: Path, manifest: pd.DataFrame) -> None:
    examples = read_files(folder, manifest, "train", size_px=SIZE)
    expected = examples.fetch(np.arange(N))
    barrier = threading.Barrier(4)

    def fetch(_: int) -> np.ndarray:
        barrier.wait()
        return examples.fetch(np.arange(N))

    with ThreadPoolExecutor(4) as pool:
        for images in pool.map(fetch, range(4)):
            np.testing.assert_array_equal(images, expected)


def test_images_are_read_into_memory_once(folder: Path, manifest: pd.DataFrame) -> None:
    streamed, reads = read_files(folder, manifest, "train", size_px=SIZE), []

    def watch(indices: np.ndarray) -> np.ndarray:
        reads.extend(indices.tolist())
        return streamed.fetch(indices)

    examples = hold_part(replace(streamed, fetch=watch), range(N), memory_bytes=10**9)
    for _ in range(2):
        examples.fetch(np.arange(N))
    assert sorted(reads) == list(range(N))


def test_refuses_missing_broken_and_no_images(folder: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"37 of 37 images of train are missing, the first is .*train/0\.jpg"):
        read_files(tmp_path, manifest, "train", size_px=SIZE)
    with pytest.raises(InputError, match="split 'test' holds no images"):
        read_files(folder, manifest, "test", size_px=SIZE)
    (tmp_path / "train").mkdir()
    for path in (folder / "train").iterdir():
        (tmp_path / "train" / path.name).write_bytes(path.read_bytes()[:20])
    examples = read_files(tmp_path, manifest, "train", size_px=SIZE)
    with pytest.raises(InputError, match=r"cannot decode image .*\.jpg"):
        hold_part(examples, range(N), memory_bytes=10**9)


def write_features(folder: Path, n: int = 5, n_paths: int = 5) -> np.ndarray:
    features = np.random.default_rng(0).normal(size=(n, 7)).astype(np.float32)
    np.save(folder / "train.npy", features)
    index = {
        "backbone": "MobileNetV2",
        "paths": {"train": [f"{k}.jpg" for k in range(n_paths)]},
        "labels": {"train": [k % 2 for k in range(n_paths)]},
    }
    (folder / "index.json").write_text(json.dumps(index))
    return features


def test_features(tmp_path: Path) -> None:
    features = write_features(tmp_path)
    examples = read_features(tmp_path, "train")
    assert isinstance(examples, Examples)
    assert (examples.shape, examples.dtype, len(examples)) == ((7,), np.float32, 5)
    fetched = examples.fetch(np.array([4, 0]))
    np.testing.assert_array_equal(fetched, features[[4, 0]])
    assert type(fetched) is np.ndarray
    assert fetched.flags.writeable


def test_refuses_unusable_features(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index\.json is not there: run `dvc repro`"):
        read_features(tmp_path, "train")
    write_features(tmp_path, n_paths=6)
    with pytest.raises(InputError, match=r"train.npy has shape \(5, 7\) for 6 images"):
        read_features(tmp_path, "train")
    with pytest.raises(InputError, match="cannot read the features of test"):
        read_features(tmp_path, "test")


def test_needs_no_tensorflow() -> None:
    import subprocess
    import sys

    modules = "cvd.data.examples.reading, cvd.data.augmentation.images, cvd.vis.charts.previews"
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
