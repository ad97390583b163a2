"""From a variant's plain values to its training: steps, precision, networks by name; a share, whatever is read."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from cvd.data.examples.shard_writer import write_shards
from cvd.data.images.manifest import read_manifest, write_manifest
from cvd.machine import hardware
from cvd.models.scratch import choose_builder
from cvd.runtime.errors import InputError
from cvd.runtime.params.variants import Variant
from cvd.training.devices import ONE_DEVICE, MemoryShortError, OneDevice, estimate_bytes
from cvd.training.fitting import train_variant
from cvd.training.plan import (
    MOST_EPOCHS,
    Sources,
    choose_precision,
    lengthen_training,
    plan_training,
    read_examples,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras' own

SIZE_PX = 46
BLOCK: dict[str, Any] = {
    "input": "files", "network": "plain", "augment": False, "dropout": 0.5, "width": 2, "depth": 1, "l2": 0.0,
    "optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 0.0, "schedule": "constant", "warmup_fraction": 0.0,
    "label_smoothing": 0.0, "epochs": 2, "patience": None, "keep": "last", "share": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("epochs", "n_all", "n_used", "expected"),
    [
        (42, 600, 75, 315),  # 30 steps an epoch, and 4: 1260 steps, 1260
        (42, 600, 150, 158),  # 8: 1260 steps, 1264
        (3, 20, 1, 3),  # one step an epoch, however few images
        (1, 41, 39, 2),  # 3 steps, and 2: 1.5 epochs, to the even one
        (42, 600, 600, 42),
    ],
)
def test_fewer_images_take_as_many_steps(epochs: int, n_all: int, n_used: int, expected: int) -> None:
    variant = {"epochs": epochs, "patience": None, "width": 32}
    counts = {"n_all": n_all, "n_used": n_used, "batch_size": 20}
    assert lengthen_training("small", variant, **counts) == {"epochs": expected, "patience": None, "width": 32}
    assert lengthen_training("small", variant | {"patience": epochs}, **counts)["patience"] == expected


def test_epochs_beyond_what_params_take_are_refused() -> None:
    assert any(getattr(limit, "le", None) == MOST_EPOCHS for limit in Variant.model_fields["epochs"].metadata)
    counts = {"n_all": 80, "n_used": 40, "batch_size": 20}
    assert lengthen_training("half", {"epochs": 5_000, "patience": None}, **counts)["epochs"] == 10_000
    message = r"^variants.half.epochs is 10000: .* on 40 images take 20,000 epochs, but 10,000 is the most: lower it$"
    with pytest.raises(InputError, match=message):
        lengthen_training("half", {"epochs": 10_000, "patience": None}, **counts)


def test_precision_is_the_machines_but_for_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "resolve_precision", lambda asked: f"resolved {asked}")
    features, images = ({"network": "backbone", "input": source} for source in ("features", "files"))
    assert choose_precision(BLOCK, "auto") == "resolved auto"
    assert [choose_precision(features, asked) for asked in ("auto", "float32")] == ["float32", "resolved float32"]
    assert choose_precision(images, "mixed_bfloat16") == "float32"


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_networks_from_scratch_are_found_by_name(name: str) -> None:
    assert choose_builder(BLOCK | {"network": name}, size_px=64)().name == name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training and four validation images, as files, shards and features."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(9)
    rows: list[dict[str, object]] = []
    for split, n in (("train", 12), ("validation", 4)):
        for index in range(n):
            path = f"{split}/{index}.png"
            (folder / split).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / path), rng.integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8))
            sha256 = hashlib.sha256((folder / path).read_bytes()).hexdigest()
            blank = {"width": SIZE_PX, "height": SIZE_PX, "group": "", "source_name": path, "normalised": ""}
            rows.append({"path": path, "label": index % 2, "split": split, "sha256": sha256, **blank})
    write_manifest(rows, folder / "manifest.csv")
    manifest = read_manifest(folder / "manifest.csv")
    for name in ("shards", "features"):
        (folder / name).mkdir()
    splits = ("train", "validation")
    write_shards(folder, manifest, folder / "shards", size_px=SIZE_PX, encoding="raw", size_mb=1, splits=splits)
    index: dict[str, dict[str, Any]] = {"paths": {}, "labels": {}}
    for split in splits:
        frame = manifest[manifest["split"] == split]
        index["paths"][split], index["labels"][split] = list(frame["path"]), frame["label"].tolist()
        np.save(folder / f"features/{split}.npy", np.array([[float(sha[:2] == "00")] for sha in frame["sha256"]]))
    (folder / "features/index.json").write_text(json.dumps(index))
    return folder


def read(data: Path, source: str, share: float, memory_share: float = 0.0) -> Any:
    reads = data if source == "files" else data / source
    variant = BLOCK | {"input": source, "share": share}
    sources = Sources(reads, data / "none", data / "manifest.csv")
    return read_examples(variant, sources, size_px=SIZE_PX, memory_share=memory_share, devices=ONE_DEVICE)


def test_workers_need_memory_for_their_part_of_a_batch(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = BLOCK | {"depth": 3}
    model = choose_builder(variant, size_px=SIZE_PX)()
    half, whole = (estimate_bytes(model, batch_size=n, optimizer="sgd") for n in (6, 12))
    assert half < whole, "a test of nothing"
    monkeypatch.setattr(hardware, "list_gpus", lambda: [])
    monkeypatch.setattr(hardware, "read_memory_bytes", lambda: half)
    train, validation, _ = read(data, "files", 1.0)
    settings: dict[str, Any] = {"precision": "float32", "seed": 1, "threads": 1}
    workers = OneDevice()
    workers.n_workers = 2
    for batch_size in (12, 99):  # there are 12 images
        settings["batch_size"] = batch_size
        plan_training(variant, data / "none", train, validation, devices=workers, **settings)
        with pytest.raises(MemoryShortError, match="with 12 images at a time"):
            plan_training(variant, data / "none", train, validation, devices=ONE_DEVICE, **settings)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_share_is_the_same_images_whatever_is_read(data: Path, share: float) -> None:
    results = [read(data, source, share, memory) for source in ("files", "shards") for memory in (0.0, 0.5)]
    results.append(read(data, "features", share))
    for train, validation, n_all in results:
        assert (len(train), len(validation), n_all) == (12 * share, 4, 12)
        assert train.paths == results[0][0].paths
        assert sorted(train.labels.tolist()).count(0) == 6 * share
    images = [train.fetch(np.arange(len(train))) for train, *_ in results[:4]]
    for other in images[1:]:
        np.testing.assert_array_equal(other, images[0])


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("network", ["plain", "backbone"])
def test_images_that_a_frozen_network_reads_once_take_no_memory(
    data: Path, monkeypatch: pytest.MonkeyPatch, network: str, augment: bool
) -> None:
    monkeypatch.setattr(hardware, "read_memory_bytes", lambda: 10**9)
    variant = BLOCK | {"input": "files", "network": network, "augment": augment}
    sources = Sources(data, data / "none", data / "manifest.csv")
    train, *_ = read_examples(variant, sources, size_px=SIZE_PX, memory_share=0.5, devices=ONE_DEVICE)
    image = Path(data, train.paths[0])
    before, kept = train.fetch(np.arange(1)), image.read_bytes()
    image.unlink()
    try:
        is_held = np.array_equal(train.fetch(np.arange(1)), before)
    except InputError:
        is_held = False
    finally:
        image.write_bytes(kept)
    assert is_held == (network == "plain" or augment)


def test_variant_is_trained_on_its_share_and_says_so(data: Path, tmp_path: Path) -> None:
    train_section = {"batch_size": 3, "memory_share": 0.25, "threads": 1}
    for share, n_epochs in ((1.0, 2), (0.5, 4)):
        endings = {"model": "keras", "history": "csv", "timing": "timing.json", "training": "json", "layers": "md"}
        outputs = {name: tmp_path / f"v.{ending}" for name, ending in endings.items()}
        block = BLOCK | {"input": "shards", "share": share, "schedule": "cosine", "warmup_fraction": 0.25}
        configuration = {"seed": 1, "precision": "float32", "train": train_section, "variants": {"v": block}}
        sources = Sources(data / "shards", data / "none", data / "manifest.csv")
        train_variant("v", configuration, sources, outputs, size_px=SIZE_PX)
        history = pd.read_csv(tmp_path / "v.csv")
        assert len(history) == n_epochs
        # Of 8 steps 2 are warm-up: the rates of the 4th and the 8th, whatever the share.
        rates = history["learning_rate"][n_epochs // 2 - 1 :: n_epochs // 2]
        np.testing.assert_allclose(rates, 0.005 * (1 + np.cos(np.pi * np.array([1, 5]) / 6)), rtol=1e-5)
        figures = json.loads((tmp_path / "v.json").read_text())
        assert (figures["epochs"], figures["steps_per_epoch"]) == (n_epochs, 4 * share)
        assert figures.get("share") == (share if share < 1 else None)
        says_share = "trained on 50% of the training images, as TFRecord shards" in (tmp_path / "v.md").read_text()
        assert says_share == (share < 1)
        assert f"{n_epochs} epochs of which the last is kept" in (tmp_path / "v.md").read_text()
