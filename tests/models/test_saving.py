"""Saved models: the same bytes from process to process, plain Keras files, float32."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from cvd.models.networks.saving import convert_to_float32, load_network, save_model
from cvd.runtime.errors import InputError

BUILD = """
import sys
import keras
from cvd.models.networks.saving import save_model
keras.utils.set_random_seed(3)
if len(sys.argv) > 2:
    keras.layers.Dense(1)(keras.Input((3,)))  # moves Keras' automatic counters and memory addresses
    keras.utils.set_random_seed(3)
pixels = keras.Input((12, 12, 3), name="pixels")
x = keras.layers.Rescaling(1 / 255, name="rescaling")(pixels)
x = keras.layers.Conv2D(4, 3, name="conv1", activation="relu")(x)
x = keras.layers.BatchNormalization(name="norm1")(x)
x = keras.layers.Flatten(name="flatten")(x)
x = keras.layers.Dropout(0.5, name="dropout")(x)
model = keras.Model(pixels, keras.layers.Dense(1, name="logit", dtype="float32")(x), name="small")
"""


@pytest.fixture(scope="module")
def small_model() -> keras.Model:
    scope: dict[str, object] = {"__name__": "build"}
    exec(BUILD.replace("len(sys.argv) > 2", "False"), scope)
    model = scope["model"]
    assert isinstance(model, keras.Model)
    return model


def test_two_processes_write_the_same_bytes(small_model: keras.Model, tmp_path: Path) -> None:
    script = BUILD + "save_model(model, sys.argv[1])\n"
    other = [sys.executable, "-c", script, str(tmp_path / "other.keras"), "moved"]
    done = subprocess.run(other, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    save_model(small_model, tmp_path / "this.keras")
    assert (tmp_path / "this.keras").read_bytes() == (tmp_path / "other.keras").read_bytes()


def test_plain_keras_loads_it_uncompiled(small_model: keras.Model, tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, 12, 12, 3)).astype("float32")
    expected = small_model.predict_on_batch(images)
    small_model.compile("adam", "mse")
    small_model.train_on_batch(images, np.zeros((2, 1)))
    save_model(small_model, tmp_path / "trained.keras")
    assert small_model.compiled
    loaded = keras.models.load_model(tmp_path / "trained.keras")
    assert not loaded.compiled
    trained = small_model.predict_on_batch(images)
    np.testing.assert_array_equal(loaded.predict_on_batch(images), trained)
    assert not np.array_equal(trained, expected)


def test_no_dates_addresses_or_optimizer_in_the_file(small_model: keras.Model, tmp_path: Path) -> None:
    small_model.compile("adam", "mse")
    save_model(small_model, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == sorted(archive.namelist())
        assert json.loads(archive.read("metadata.json"))["date_saved"] == "1980-01-01@00:00:00"
        config = archive.read("config.json").decode()
    assert '"shared_object_id": 1' in config or "shared_object_id" not in config
    assert '"Adam"' not in config


def test_saved_models_compute_in_float32(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    policy = "mixed_bfloat16"
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="conv1", dtype=policy)(pixels)
    x = keras.layers.Dropout(0.5, name="dropout", dtype=policy)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool", dtype=policy)(x)
    model = keras.Model(pixels, keras.layers.Dense(1, name="logit", dtype="float32")(x), name="half")
    save_model(model, tmp_path / "half.keras")
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    for saved, trained in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(saved, trained)
    assert convert_to_float32(loaded) is loaded


def test_a_path_without_keras_is_refused(small_model: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.keras, not 'model\.h5'"):
        save_model(small_model, "model.h5")


def test_a_network_that_cannot_be_loaded_is_named_in_one_line(small_model: keras.Model, tmp_path: Path) -> None:
    save_model(small_model, tmp_path / "good.keras")
    assert load_network(tmp_path / "good.keras").name == "small"
    whole = (tmp_path / "good.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "foreign.keras", "w") as archive:
        archive.writestr("notes.txt", "no network")
    (tmp_path / "text.keras").write_text("no zip")
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    for name, words in (
        ("none", "does not exist: run `dvc repro train@none` or `dvc pull`"),
        *((name, "cannot be loaded: ") for name in ("foreign", "text", "cut")),
    ):
        with pytest.raises(InputError) as caught:
            load_network(tmp_path / f"{name}.keras")
        assert len(str(caught.value).splitlines()) == 1
        assert str(caught.value).startswith(f"model {tmp_path / name}.keras {words}")
        assert f"`dvc repro train@{name}`" in str(caught.value)
