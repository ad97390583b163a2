"""The network as a run's model."""

import base64
import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.special
from PIL import Image
from tracking_samples import save_model, train

from cvd.data.images.pixels import resize_image
from cvd.data.intake.photos import decode_photo
from cvd.runtime.errors import InputError
from cvd.tracking import gate as gates
from cvd.tracking import model as models


def encode(pixels: np.ndarray) -> bytes:
    """A PNG, which keeps every pixel."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def logged(place: Path) -> tuple[Path, Path]:
    """A model, and the folder in which MLflow keeps it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        (place / "data").mkdir(exist_ok=True)
        (place / "data/manifest.csv").write_text("path,label\ntrain/owl/1.jpg,0\ntest/newt/2.jpg,1\n")
        model = save_model(place / "models/baseline.keras", seed=1, side=16)
        run_id = train(model=model)
        (place / "data/manifest.csv").unlink()
        opened = gates.GATE.attempt(lambda each: each)
    assert opened is not None
    (output,) = opened.client.get_run(run_id).outputs.model_outputs
    return model, Path(opened.client.get_logged_model(output.model_id).artifact_location.removeprefix("file://"))


def test_logged_model_is_the_file_and_loads(logged: tuple[Path, Path]) -> None:
    import keras
    import mlflow

    model, folder = logged
    files = [encode(image) for image in np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)]
    pixels = np.stack([decode_photo(file) for file in files])  # intake turns a PNG into a JPEG
    expected = keras.models.load_model(model).predict(pixels.astype(np.float32), verbose=0)
    assert np.array_equal(mlflow.keras.load_model(folder.as_uri()).predict(pixels, verbose=0), expected)
    assert (folder / "data/model.keras").read_bytes() == model.read_bytes()
    packages = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert packages >= {"tensorflow", "keras", "opencv-python-headless"}

    loaded = mlflow.pyfunc.load_model(folder.as_uri())
    assert "newt" in loaded.metadata.metadata["output"]
    codes = [base64.b64encode(file).decode() for file in files]
    table = pd.DataFrame({"image": codes})
    for given in (pixels, pixels.astype(np.float32), files, codes, np.array(codes), table, {"image": codes}):
        answer = loaded.predict(given)
        assert np.allclose(answer["logit"], expected[:, 0], atol=1e-6), type(given)
        assert np.allclose(answer["probability"], scipy.special.expit(expected[:, 0]))
        assert list(answer["label"]) == ["newt" if logit > 0 else "owl" for logit in expected[:, 0]]
    assert loaded.predict(loaded.input_example).shape == (1, 3)


def test_images_of_any_size_are_resized_by_the_one_rule(logged: tuple[Path, Path]) -> None:
    import keras
    import mlflow

    file = encode(np.random.default_rng(1).integers(0, 256, (30, 21, 3)).astype(np.uint8))
    large = decode_photo(file)
    expected = keras.models.load_model(logged[0]).predict(resize_image(large, 16)[np.newaxis], verbose=0)
    loaded = mlflow.pyfunc.load_model(logged[1].as_uri())
    for given in (large[np.newaxis], [file]):
        assert np.allclose(loaded.predict(given)["logit"], expected[:, 0], atol=1e-6)
    for given, words in (
        ([file, b"no image"], "image 2"),
        (["%%%"], "image 1"),
        (large, "image 1"),
        ([], "no image"),
    ):
        with pytest.raises(InputError, match=words):
            loaded.predict(given)


def test_logged_model_answers_without_the_project(logged: tuple[Path, Path], tmp_path: Path) -> None:
    """Its own copy of the code is what is imported, in another process, which has no other."""
    script = (
        "import sys; sys.path = [path for path in sys.path if path]; import mlflow, numpy as np\n"
        "answer = mlflow.pyfunc.load_model(sys.argv[1]).predict(np.zeros((1, 5, 5, 3), np.uint8))\n"
        "import cvd; print(cvd.__file__, list(answer))\n"
    )
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(logged[1])],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(logged[1] / "code/cvd/__init__.py"), "['label',", "'probability',", "'logit']"]


def test_input_shape_is_read_without_loading(tmp_path: Path) -> None:
    config = {"config": {"layers": [{"config": {"batch_shape": [None, 150, 150, 3]}}]}}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert models.read_input_shape(tmp_path / "m.keras") == (150, 150, 3)


def test_model_layout_follows_keras(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert models.read_input_shape(save_model(tmp_path / "m.keras", side=9)) == (9, 9, 3)
