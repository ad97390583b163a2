"""Several processors or processes train as one does: the same weights, one writer, no hanging.

With SGD, whose steps are as small as the gradients, weights agree to 1e-6. RMSprop and Adam divide gradients by their
own size, so that what is mere rounding in a gradient near 0 counts in full: there, agreement ends after some epochs.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvd.data.examples.batches import Augment, make_batch
from cvd.data.examples.reading import Examples
from cvd.data.examples.shares import hold_part, split_range, stream_parts
from cvd.runtime.errors import InputError
from cvd.training.distributed.cluster import (
    Cluster,
    WorkerLostError,
    find_role,
    has_other_chief,
    meet_peers,
    read_cluster,
)
from cvd.training.state import load_state, open_state_folder

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-6  # of weights of about 0.1, in float32
N_VALIDATION, BATCH, EPOCHS = 13, 8, 4
# Name, images, epochs. The last batch of the first is a single image, so one worker has none; the second has BatchNorm,
# and mixes its images.
TRAININGS = [("plain", 41, EPOCHS), ("normalised", 40, 1)]
VARIANT = {
    "optimizer": "sgd", "learning_rate": 0.02, "schedule": "constant", "warmup_fraction": 0.0, "weight_decay": 0.0,
    "l2": 0.01, "label_smoothing": 0.1, "patience": None, "keep": "best",
}  # fmt: skip
EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


def make_examples(n: int, seed: int) -> Examples:
    labels = np.arange(n) // (n // 2 + 1)  # sorted by class, as in a manifest: each worker has next to one class only
    images = np.random.default_rng(seed).integers(0, 256, (n, 46, 46, 3), np.uint8)
    fetch = lambda indices: images[indices]  # noqa: E731
    return Examples([f"{index}.jpg" for index in range(n)], labels, fetch, images.shape[1:], np.dtype(np.uint8))


def flip(images: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
    return images[:, :, ::-1] if epoch % 2 else images


def mix(images: np.ndarray, labels: np.ndarray, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shares = ((indices + epoch) % 5 / 8).astype(np.float32)[:, np.newaxis]
    mixed = images + shares[..., np.newaxis, np.newaxis] * (np.roll(images, -1, axis=0).astype(np.float32) - images)
    return mixed.astype(np.uint8), labels + shares * (np.roll(labels, -1, axis=0) - labels)


# What a process of its own runs: python -c PROGRAM STRATEGY FOLDER, with TF_CONFIG. The chief keeps its state there.
PROGRAM = f"""
import json, os, signal, sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from cvd.runtime.startup import start_tensorflow
start_tensorflow()
from cvd.runtime.errors import InputError
from cvd.training.distributed.joining import join_training
from contextlib import nullcontext
from dataclasses import replace
import numpy as np
from test_distribution import BATCH, N_VALIDATION, TRAININGS, VARIANT, flip, make_examples, mix
from cvd.data.examples.batches import Augment
from cvd.training.state import open_state_folder

def main(strategy, folder, dies_in):
    from cvd.machine import threads
    threads.set_threads(2)
    devices = join_training(strategy)
    devices.require_alike(os.environ.get("CODE", "same"))
    import keras
    from cvd.training.fitting import train_model

    def build(dtype):
        layers = keras.layers
        return keras.Sequential([
            keras.Input((46, 46, 3)), layers.Rescaling(1 / 255), layers.Conv2D(8, 5, 3),
            *([layers.BatchNormalization()] if epochs == 1 else []),
            layers.ReLU(), layers.MaxPooling2D(4), layers.Flatten(), layers.Dense(1),
        ])

    def watch(epoch, metrics):
        print("told", epoch, flush=True)

    fetched = set()
    def spy(examples):
        def fetch(indices):
            fetched.update(indices.tolist())
            counts["n"] += 1
            if counts["n"] == dies_in:
                os.kill(os.getpid(), signal.SIGKILL)
            return examples.fetch(indices)
        return replace(examples, fetch=fetch)

    counts = {{"n": 0}}
    for name, n, epochs in TRAININGS:
        with (open_state_folder(folder / "state", name) if devices.is_chief else nullcontext()) as state_folder:
            training = train_model(
                build, spy(make_examples(n, 1)), make_examples(N_VALIDATION, 2), {{**VARIANT, "epochs": epochs}},
                batch_size=BATCH, precision="float32", seed=3,
                augment=Augment(flip, mix if epochs == 1 else None),
                state_folder=state_folder, on_epoch=watch if devices.is_chief else None, devices=devices,
            )
        result = {{"history": training.history, "fetched": sorted(fetched)}}
        arrays = [variable.numpy() for variable in training.model.variables]
        np.savez(folder / f"{{name}}.{{devices.worker}}.npz", *arrays)
        (folder / f"{{name}}.{{devices.worker}}.json").write_text(json.dumps(result))

try:
    main(sys.argv[1], Path(sys.argv[2]), int(os.environ.get("DIES_IN", 0)))
except InputError as error:
    sys.exit(f"error: {{error}}")
"""


def find_ports(n: int) -> list[int]:
    """Ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def make_config(ports: list[int], index: int) -> str:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def start(strategy: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, strategy, str(folder)],
        env=inherited | {"CUDA_VISIBLE_DEVICES": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_pair(folder: Path, *changes: Mapping[str, str]) -> list[subprocess.Popen[str]]:
    ports = find_ports(2)
    return [
        start("multi_worker", folder, TF_CONFIG=make_config(ports, index), **changes[index] if changes else {})
        for index in range(2)
    ]


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=900)
    finally:
        process.kill()
    return process.returncode, out, err


def read_weights(file: Path) -> list[np.ndarray]:
    with np.load(file) as arrays:
        return [arrays[name] for name in arrays.files]


def read_result(file: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def assert_same_training(folder: Path, other: Path, rank: int = 0) -> None:
    for name, _, _ in TRAININGS:
        weights = [read_weights(path) for path in (folder / f"{name}.{rank}.npz", other / f"{name}.0.npz")]
        for one, two in zip(*weights, strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=TOLERANCE)
        results = [read_result(path) for path in (folder / f"{name}.{rank}.json", other / f"{name}.0.json")]
        for mine, theirs in zip(*(result["history"] for result in results), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Undisturbed trainings: `one`, `mirrored` on two logical processors, `pair` of two processes."""
    folder = tmp_path_factory.mktemp("trainings")
    processes = [start(name, folder / name) for name in ("one", "mirrored")] + start_pair(folder / "pair")
    ends = [finish(process) for process in processes]
    for code, _, err in ends:
        assert code == 0, err
    return folder


def test_two_processors_are_one(done: Path) -> None:
    assert_same_training(done / "mirrored", done / "one")


def test_two_workers_are_one(done: Path) -> None:
    for rank in range(2):
        assert_same_training(done / "pair", done / "one", rank)


def test_each_worker_reads_its_own_examples_only(done: Path) -> None:
    fetched = [read_result(done / f"pair/plain.{rank}.json")["fetched"] for rank in range(2)]
    assert fetched == [list(range(20)), list(range(20, 41))]


def test_lost_worker_ends_the_chief_and_a_restart_ends_in_the_same_weights(done: Path, tmp_path: Path) -> None:
    chief, worker = start_pair(tmp_path / "run", {}, {"DIES_IN": "14"})  # of 6 steps an epoch, some read ahead
    assert finish(worker)[0] == -signal.SIGKILL
    code, out, err = finish(chief)
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("error: worker 1 at 127.0.0.1:")
    assert line.endswith("is lost: start the same on every machine again")
    assert "the finished epochs are kept" in out
    state = load_state(tmp_path / "run/state/plain/state.npz")
    assert state is not None
    assert 1 <= state.epochs < EPOCHS
    for process in start_pair(tmp_path / "run"):
        code, out, err = finish(process)
        assert code == 0, err
        assert f"resuming after epoch {state.epochs} of {EPOCHS}" in out
    assert_same_training(tmp_path / "run", done / "one")
    assert not list((tmp_path / "run/state").iterdir())


def test_worker_with_other_code_or_data_is_refused_by_all(tmp_path: Path) -> None:
    for process in start_pair(tmp_path / "run", {}, {"CODE": "other"}):
        code, _, err = finish(process)
        assert code == 1
        (line,) = err.splitlines()
        assert line.startswith("error: worker 1 at 127.0.0.1:")
        assert "has other code, libraries, data or parameters than the chief" in line


def test_worker_that_never_starts_is_named() -> None:
    ports = find_ports(2)
    cluster = Cluster([("worker", 0), ("worker", 1)], [f"127.0.0.1:{port}" for port in ports], 0)
    with pytest.raises(WorkerLostError, match=rf"^worker 1 at 127\.0\.0\.1:{ports[1]} did not start in 0 s"):
        meet_peers(cluster, seconds=0.1)


def test_port_that_is_taken_is_named() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        cluster = Cluster([("worker", 0), ("worker", 1)], [f"127.0.0.1:{port}", "127.0.0.1:1"], 0)
        with pytest.raises(InputError) as caught:
            meet_peers(cluster, seconds=0.1)
    assert str(caught.value) == (
        f"port {port} of the chief at 127.0.0.1:{port} cannot be opened here (Address already in use): "
        "end the process that has it, or name another in every TF_CONFIG"
    )


def test_lost_worker_leaves_the_state(tmp_path: Path) -> None:
    with pytest.raises(WorkerLostError), open_state_folder(tmp_path, "key") as folder:
        assert folder is not None
        (folder / "state.npz").touch()
        raise WorkerLostError("worker 1 is lost")
    assert (tmp_path / "key/state.npz").exists()


def test_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_cluster({}) is None
    workers = read_cluster({"TF_CONFIG": EXAMPLE})
    assert workers == Cluster([("worker", 0), ("worker", 1)], ["host0:2222", "host1:2222"], 0)
    assert workers.is_chief
    text = '{"cluster": {"worker": ["b:1"], "chief": ["a:1"]}, "task": {"type": "worker", "index": "0"}}'
    with_chief = read_cluster({"TF_CONFIG": text})
    assert with_chief == Cluster([("chief", 0), ("worker", 0)], ["a:1", "b:1"], 1)
    assert not with_chief.is_chief
    for config, is_other in ((EXAMPLE, False), (text, True), ("{", False)):  # what cannot be used is refused later
        monkeypatch.setenv("TF_CONFIG", config)
        assert has_other_chief() == is_other
    assert find_role("one", {}) is None
    assert find_role("multi_worker", {"TF_CONFIG": EXAMPLE}) == workers


@pytest.mark.parametrize(
    ("strategy", "text", "words"),
    [
        ("multi_worker", "", "TF_CONFIG is not set"),
        ("one", EXAMPLE, "names 2 processes, but train.strategy is one: set it to multi_worker"),
        ("mirrored", EXAMPLE, "names 2 processes, but train.strategy is mirrored"),
        ("multi_worker", "{", "must be JSON like"),
        ("multi_worker", "[]", "must be JSON like"),
        ("multi_worker", '{"cluster": {"worker": ["a:1"]}}', "must be JSON like"),
        ("multi_worker", '{"cluster": {"worker": 3}, "task": {"type": "worker", "index": 0}}', "must be JSON like"),
        (
            "multi_worker",
            EXAMPLE.replace('"index": 0', '"index": 2'),
            "task is worker 2, but its cluster has worker 0",
        ),
        ("multi_worker", EXAMPLE.replace("host1:2222", "host0:2222"), "'host0:2222': each process needs its own"),
        ("multi_worker", EXAMPLE.replace("host1:2222", "host1"), "'host1': each process needs its own host:port"),
        (
            "multi_worker",
            EXAMPLE.replace('"worker":', '"ps": ["a:1"], "worker":', 1),
            "names 'ps': only chief and worker",
        ),
    ],
)
def test_bad_tf_config_is_one_line(strategy: str, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        find_role(strategy, {"TF_CONFIG": text})
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("n_workers", [1, 2, 3, 5])
def test_shares_of_a_step_make_the_batch_of_one_worker(n_workers: int) -> None:
    examples = make_examples(23, 1)
    order = lambda epoch: np.random.default_rng(epoch).permutation(23)  # noqa: E731
    parts = [split_range(23, worker=worker, n_workers=n_workers) for worker in range(n_workers)]
    assert [index for part in parts for index in part] == list(range(23))
    streams = [
        stream_parts(examples, part, order=order, epochs=range(1, 3), batch_size=6, at_least=2) for part in parts
    ]
    steps = list(zip(*streams, strict=True))
    wholes = [order(epoch)[start : start + 6] for epoch in (1, 2) for start in range(0, 23, 6)]
    for shares, whole in zip(steps, wholes, strict=True):
        assert {share.n_whole for share in shares} == {len(whole)}
        assert min(len(share.images) for share in shares) >= 2
        counted = np.concatenate([share.images[share.weights == 1] for share in shares])
        expected = examples.fetch(np.sort(whole))
        assert sorted(image.tobytes() for image in counted) == sorted(image.tobytes() for image in expected)


@pytest.mark.parametrize("n_workers", [1, 2, 3, 5])
def test_shares_of_a_mixed_step_make_the_mixed_batch_of_one_worker(n_workers: int) -> None:
    examples, augment = make_examples(23, 1), Augment(flip, mix)
    order = lambda epoch: np.random.default_rng(epoch).permutation(23)  # noqa: E731
    parts = [split_range(23, worker=worker, n_workers=n_workers) for worker in range(n_workers)]
    held = [hold_part(examples, part, memory_bytes=10**9) for part in parts]
    streams = [
        stream_parts(own, part, order=order, epochs=range(1, 3), batch_size=6, at_least=2, augment=augment)
        for own, part in zip(held, parts, strict=True)
    ]
    wholes = [(epoch, order(epoch)[start : start + 6]) for epoch in (1, 2) for start in range(0, 23, 6)]
    for shares, (epoch, whole) in zip(zip(*streams, strict=True), wholes, strict=True):
        images, labels = make_batch(examples, whole, epoch=epoch, augment=augment)
        for share, part in zip(shares, parts, strict=True):
            is_own = (whole >= part.start) & (whole < part.stop)
            np.testing.assert_array_equal(share.images[share.weights == 1], images[is_own])
            np.testing.assert_array_equal(share.labels[share.weights == 1], labels[is_own])
            assert len(share.images) == len(share.labels) == len(share.weights) >= 2


def test_more_workers_than_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"^2 images cannot be shared among 3 workers"):
        split_range(2, worker=0, n_workers=3)


def test_part_in_memory_is_read_once() -> None:
    examples, read = make_examples(20, 1), []

    def fetch(indices: np.ndarray) -> np.ndarray:
        read.extend(indices.tolist())
        return examples.fetch(indices)

    spied = Examples(examples.paths, examples.labels, fetch, examples.shape, examples.dtype)
    held = hold_part(spied, range(5, 15), memory_bytes=10**6)
    np.testing.assert_array_equal(held.fetch(np.array([14, 5, 7])), examples.fetch(np.array([14, 5, 7])))
    assert sorted(read) == list(range(5, 15))
    np.testing.assert_array_equal(held.fetch(np.array([4, 7])), examples.fetch(np.array([4, 7])))  # beyond its part
    assert hold_part(spied, range(5, 15), memory_bytes=100) is spied
