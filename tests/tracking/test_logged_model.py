"""The network as a run's model."""

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tracking_samples import save_model, train

from cvd.runtime.project import store_uri
from cvd.tracking import model as models
from cvd.tracking import store


def test_logged_model_is_the_file_and_loads(place: Path, opened: store.Store) -> None:
    import keras
    import mlflow

    model = save_model(place / "models/baseline.keras", seed=1)
    run_id = train(model=model)
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    expected = keras.models.load_model(model).predict(pixels, verbose=0)
    mlflow.set_tracking_uri(store_uri())
    uri = f"runs:/{run_id}/baseline"
    assert np.array_equal(mlflow.keras.load_model(uri).predict(pixels, verbose=0), expected)
    loaded = mlflow.pyfunc.load_model(uri)
    assert np.array_equal(loaded.predict(pixels), expected)
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 8, 8, 3)
    # A signature knows one type, so that pyfunc refuses uint8, which the model itself takes: the model says so.
    with pytest.raises(mlflow.MlflowException, match="dtype of input uint8"):
        loaded.predict(pixels.astype(np.uint8))
    whole = np.round(pixels).astype(np.uint8)
    by_keras = mlflow.keras.load_model(uri)
    assert np.array_equal(by_keras.predict(whole, verbose=0), loaded.predict(whole.astype(np.float32)))
    assert loaded.metadata.metadata["input"].endswith("float32 or uint8; by mlflow.pyfunc float32 only")
    logged = opened.client.get_logged_model(opened.client.get_run(run_id).outputs.model_outputs[0].model_id)
    folder = Path(logged.artifact_location.removeprefix("file://"))
    assert (folder / "data/model.keras").read_bytes() == model.read_bytes()
    assert {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()} >= {
        "tensorflow",
        "keras",
    }
    assert (folder / "input_example.json").exists()


def test_input_shape_is_read_without_loading(tmp_path: Path) -> None:
    config = {"config": {"layers": [{"config": {"batch_shape": [None, 150, 150, 3]}}]}}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert models.read_input_shape(tmp_path / "m.keras") == (150, 150, 3)


def test_model_layout_follows_keras(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert models.read_input_shape(save_model(tmp_path / "m.keras", side=9)) == (9, 9, 3)
