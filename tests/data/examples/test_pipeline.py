"""Batches follow from (seed, epoch, index) alone: in the graph as by hand, in parallel as in a row."""

import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from augmentation_samples import MOVES
from tensorflow.python.framework import config as tf_config

from cvd.data.augmentation.images import augment_images
from cvd.data.augmentation.mixing import mix_batch
from cvd.data.examples.batches import Augment, find_next, order_examples
from cvd.data.examples.pipeline import (
    make_evaluation_dataset,
    make_training_dataset,
    reveal_input_errors,
)
from cvd.data.examples.reading import Examples, read_files, read_shards
from cvd.data.examples.shard_writer import write_shards
from cvd.data.examples.shares import hold_part, stream_parts
from cvd.data.images.pixels import encode_jpeg
from cvd.runtime.errors import InputError

SIZE, N, BATCH = 24, 23, 5
Batches = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for k in range(N):
        (folder / f"{k}.jpg").write_bytes(encode_jpeg(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)))
    write_shards(folder, make_manifest(), folder, size_px=SIZE, encoding="raw", size_mb=0.02, splits=["train"])
    return folder


def make_manifest() -> pd.DataFrame:
    return pd.DataFrame([{"path": f"{k}.jpg", "label": k % 2, "split": "train", "sha256": "0" * 64} for k in range(N)])


@pytest.fixture(scope="module")
def examples(folder: Path) -> Examples:
    return hold_part(read_files(folder, make_manifest(), "train", size_px=SIZE), range(N), memory_bytes=10**9)


@pytest.fixture
def _op_determinism() -> Iterator[None]:
    tf_config.enable_op_determinism()
    yield
    tf_config.disable_op_determinism()


def augment(images: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
    return augment_images(images, MOVES, epoch=epoch, indices=indices)


def mix(images: np.ndarray, labels: np.ndarray, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return mix_batch(images, labels, replace(MOVES, mixup_alpha=0.5, cutmix_alpha=1.0), epoch=epoch, indices=indices)


MOVING = Augment(augment)


def collect(dataset: tf.data.Dataset) -> Batches:
    return [(images.copy(), labels.copy()) for images, labels in dataset.as_numpy_iterator()]


def assert_equal(found: Batches, expected: Batches) -> None:
    for (images, labels), (expected_images, expected_labels) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def make_by_hand(examples: Examples, *, epochs: range, is_augmented: bool) -> Batches:
    """The contract, without tf.data."""
    batches = []
    for epoch in epochs:
        order = order_examples(len(examples), seed=1, epoch=epoch)
        for start in range(0, len(examples), BATCH):
            indices = order[start : start + BATCH]
            images = examples.fetch(indices)
            images = augment(images, epoch, indices) if is_augmented else images
            batches.append((images, examples.labels[indices][:, None].astype(np.float32)))
    return batches


@pytest.mark.parametrize("is_augmented", [False, True])
def test_training_batches_are_those_made_by_hand(examples: Examples, is_augmented: bool) -> None:
    dataset = make_training_dataset(
        examples, batch_size=BATCH, seed=1, epochs=3, augment=MOVING if is_augmented else None
    )
    assert dataset.cardinality() == 3 * 5
    batches = collect(dataset)
    assert batches[0][0].dtype == np.uint8
    assert batches[0][1].dtype == np.float32
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3] * 3
    assert_equal(batches, make_by_hand(examples, epochs=range(3), is_augmented=is_augmented))


@pytest.mark.parametrize("memory_bytes", [0, 10**9])
def test_files_and_shards_give_equal_batches(folder: Path, examples: Examples, memory_bytes: int) -> None:
    streamed = read_shards(folder, "train"), read_files(folder, make_manifest(), "train", size_px=SIZE)
    shards, files = (hold_part(each, range(N), memory_bytes=memory_bytes) for each in streamed)
    expected = collect(make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=MOVING))
    for other in (shards, files):
        assert_equal(
            collect(make_training_dataset(other, batch_size=BATCH, seed=1, epochs=2, augment=MOVING)), expected
        )
    assert_equal(
        collect(make_evaluation_dataset(shards, batch_size=BATCH)),
        collect(make_evaluation_dataset(files, batch_size=BATCH)),
    )


@pytest.mark.parametrize("is_sharded", [False, True])
@pytest.mark.parametrize("memory_bytes", [0, 10**9])
def test_in_a_graph_as_eagerly(folder: Path, examples: Examples, is_sharded: bool, memory_bytes: int) -> None:
    eager = make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=MOVING)
    files, shards = read_files(folder, make_manifest(), "train", size_px=SIZE), read_shards(folder, "train")
    source = hold_part(shards if is_sharded else files, range(N), memory_bytes=memory_bytes)
    dataset = make_training_dataset(source, batch_size=BATCH, seed=1, epochs=2, augment=MOVING)

    @tf.function
    def add_up(batches: tf.data.Dataset) -> tuple[tf.Tensor, tf.Tensor]:
        total, position = tf.zeros((SIZE, SIZE, 3), tf.int64), tf.constant(0, tf.int64)
        for images, labels in batches:
            position += 1
            weights = (tf.cast(labels, tf.int64) + 2)[..., tf.newaxis, tf.newaxis] * position  # order matters
            total += tf.reduce_sum(tf.cast(images, tf.int64) * weights, axis=0)
        return total, position

    expected = sum(
        (images.astype(np.int64) * (labels.astype(np.int64) + 2)[..., None, None] * position).sum(axis=0)
        for position, (images, labels) in enumerate(collect(eager), start=1)
    )
    total, position = add_up(dataset)
    np.testing.assert_array_equal(total, expected)
    assert position == 10


def test_shapes_are_known_to_the_graph(examples: Examples) -> None:
    images, labels = make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=1).element_spec
    assert (images.shape.as_list(), images.dtype) == ([None, SIZE, SIZE, 3], tf.uint8)
    assert (labels.shape.as_list(), labels.dtype) == ([None, 1], tf.float32)
    images, _ = make_evaluation_dataset(examples, batch_size=N).element_spec
    assert images.shape.as_list() == [N, SIZE, SIZE, 3]


def test_a_later_start_is_the_tail(examples: Examples) -> None:
    whole = collect(make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=5, augment=MOVING))
    tail = collect(make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=5, first_epoch=3, augment=MOVING))
    assert_equal(tail, whole[3 * 5 :])


def test_each_epoch_has_an_order_of_its_own() -> None:
    orders = {(seed, epoch): order_examples(100, seed=seed, epoch=epoch) for seed in range(3) for epoch in range(3)}
    for order in orders.values():
        np.testing.assert_array_equal(np.sort(order), np.arange(100))
    assert len({tuple(order) for order in orders.values()}) == 9
    np.testing.assert_array_equal(order_examples(100, seed=2, epoch=1), orders[2, 1])


def test_orders_do_not_move_from_one_version_to_the_next() -> None:
    assert order_examples(8, seed=1, epoch=2).tolist() == [0, 2, 6, 5, 7, 1, 4, 3]


def test_batch_size_leaves_each_images_augmentation(examples: Examples) -> None:
    def gather(batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        batches = collect(make_training_dataset(examples, batch_size=batch_size, seed=1, epochs=2, augment=MOVING))
        return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))

    for found, expected in zip(gather(7), gather(1), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_mixed_batches_are_the_plain_ones_mixed_with_the_next_example(examples: Examples) -> None:
    plain = collect(make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=MOVING))
    mixed = collect(make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=Augment(augment, mix)))
    order = np.concatenate([order_examples(N, seed=1, epoch=epoch) for epoch in range(2)])
    starts = [epoch * N + start for epoch in range(2) for start in range(0, N, BATCH)]
    for number, (start, (images, labels)) in enumerate(zip(starts, plain, strict=True)):
        indices = order[start : start + len(images)]
        assert_equal([mixed[number]], [mix(images, labels, number // 5, indices)])
    soft = np.concatenate([labels for _, labels in mixed])
    assert 0 <= soft.min() <= soft.max() <= 1
    assert np.mean((soft > 0.05) & (soft < 0.95)) > 0.2


def test_next_example_is_the_one_after_in_the_batch_and_the_last_ones_the_first() -> None:
    order = np.array([4, 0, 3, 1, 2])
    assert [find_next(order, index, batch_size=2) for index in order] == [0, 4, 1, 3, 2]
    assert [find_next(order, index, batch_size=9) for index in order] == [0, 3, 1, 2, 4]


def test_evaluation_is_in_order_once(examples: Examples) -> None:
    dataset = make_evaluation_dataset(examples, batch_size=BATCH)
    batches = collect(dataset)
    assert dataset.cardinality() == len(batches) == 5
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), examples.fetch(np.arange(N)))
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches])[:, 0], examples.labels)


def test_a_dataset_can_be_read_again(examples: Examples) -> None:
    dataset = make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=MOVING)
    assert_equal(collect(dataset), collect(dataset))


def test_iterators_outlive_their_dataset_and_images_do_not_outlive_both(folder: Path) -> None:
    examples = hold_part(read_shards(folder, "train"), range(N), memory_bytes=10**9)
    expected = collect(make_evaluation_dataset(examples, batch_size=BATCH))
    kept = weakref.ref(examples.fetch)
    batches = make_evaluation_dataset(examples, batch_size=BATCH).map(lambda images, labels: (images, labels))
    batches = batches.as_numpy_iterator()
    del examples
    assert_equal(list(batches), expected)
    del batches
    gc.collect()
    assert kept() is None


def test_features_pass_through() -> None:
    features = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    examples = Examples(
        [str(k) for k in range(9)], np.arange(9) % 2, lambda indices: features[indices], (6,), np.dtype(np.float32)
    )
    batches = collect(make_training_dataset(examples, batch_size=4, seed=3, epochs=1))
    order = order_examples(9, seed=3, epoch=0)
    np.testing.assert_array_equal(np.concatenate([each for each, _ in batches]), features[order])


@pytest.mark.usefixtures("_op_determinism")
def test_parallel_and_equal_under_op_determinism(examples: Examples) -> None:
    expected = make_by_hand(examples, epochs=range(2), is_augmented=True)
    dataset = make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=MOVING)
    assert_equal(collect(dataset), expected)
    meeting = threading.Barrier(2, timeout=20)

    def meet(images: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
        meeting.wait()  # passes only when two batches are being made at once
        return augment(images, epoch, indices)

    dataset = make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=Augment(meet))
    assert_equal(collect(dataset), expected)


def test_batches_are_made_ahead(examples: Examples) -> None:
    made = threading.Semaphore(0)

    def count(images: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
        made.release()
        return images

    batches = iter(make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=Augment(count)))
    next(batches)
    for _ in range(5):
        assert made.acquire(timeout=20)


def test_the_threads_that_make_batches_give_way_and_others_do_not(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    polite: set[int] = set()
    makers: set[int] = set()
    monkeypatch.setattr("cvd.data.examples.pipeline.give_way", lambda: polite.add(threading.get_native_id()))
    monkeypatch.setattr("cvd.data.examples.shares.give_way", lambda: polite.add(threading.get_native_id()))

    def fetch(indices: np.ndarray) -> np.ndarray:
        makers.add(threading.get_native_id())
        return examples.fetch(indices)

    watched, part = replace(examples, fetch=fetch), range(len(examples))
    collect(make_training_dataset(watched, batch_size=2, seed=1, epochs=1))
    of_workers = stream_parts(watched, part, order=lambda epoch: np.array(part), epochs=range(1), batch_size=2)
    assert sum(len(each.labels) for each in of_workers) == len(examples)
    assert makers
    assert makers <= polite
    assert threading.get_native_id() not in polite


def test_fit_takes_it(examples: Examples) -> None:
    import keras

    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    dataset = make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=2, augment=MOVING)
    history = model.fit(dataset, epochs=2, steps_per_epoch=5, shuffle=False, verbose=0)
    assert len(history.history["loss"]) == 2


def test_an_error_inside_stays_one_clear_line(folder: Path) -> None:
    examples = read_shards(folder, "train")
    shard = sorted(folder.glob("train-*"))[0]
    content = shard.read_bytes()
    shard.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    try:
        message = r"^shard .*tfrecord is corrupted: .*; run the shard stage$"
        with pytest.raises(InputError, match=message), reveal_input_errors():
            collect(make_evaluation_dataset(examples, batch_size=BATCH))
    finally:
        shard.write_bytes(content)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), reveal_input_errors():
        tf.reshape(tf.zeros(3), (2, 2))
