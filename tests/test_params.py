"""params.yaml is valid, and what is wrong in one is said in one line."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from cvd.errors import InputError
from cvd.params import load_params, parse_params

ROOT = Path(__file__).parent.parent
RAW: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


def changed(path: str, value: object) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    section = raw
    *parents, last = path.split(".")
    for name in parents:
        section = section[name]
    section[last] = value
    return raw


def test_shipped_params_are_valid_and_frozen() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.augment.rotation_degrees == 40
    assert set(params.variants) >= {"baseline", "augmented", "tfrecord", "transfer"}
    with pytest.raises(pydantic.ValidationError):
        params.seed = 2


def test_tfrecord_differs_from_baseline_in_its_input_only() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.variants["tfrecord"].model_copy(update={"input": "files"}) == params.variants["baseline"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("augment.rotation", 3, ["augment.rotation ", "unknown"]),
        ("augment.rotation_degrees", 500, ["augment.rotation_degrees", "500", "180"]),
        ("augment.rotation_degrees", "much", ["augment.rotation_degrees", "'much'", "number"]),
        ("augment.horizontal_flip", 3, ["augment.horizontal_flip", "3", "boolean"]),
        ("data.source", "kagle", ["data.source", "'kagle'", "drawn"]),
        ("data.source", "url", ["data: source 'url' needs data.url, which is null"]),
        ("data.url", "ftp://host/a.zip", ["data.url", "'ftp://host/a.zip'"]),
        ("data.url", "https:///a.zip", ["data.url", "'https:///a.zip'"]),
        ("data.url", "https://host/a b.zip", ["data.url", "'https://host/a b.zip'"]),
        ("data.sha256", "b7974bd0", ["data.sha256", "'b7974bd0'"]),
        ("data.sha256", "g" * 64, ["data.sha256", "g" * 64]),
        ("split.validation", 0, ["split.validation", "0", "1"]),
        ("split.validation", None, ["split.validation", "None"]),
        ("variants.augmented.dropout", 1.0, ["variants.augmented.dropout", "0.95"]),
        ("variants.transfer.augment", True, ["variants.transfer", "augment", "features"]),
        ("variants.transfer.input", "files", ["variants.transfer", "'files'", "'backbone'"]),
        ("variants.extra", {"input": "files"}, ["variants.extra", "missing"]),
        ("backbone.name", "VGG16", ["torchvision", "VGG16", "imagenet"]),
        ("gradcam.variants", ["residual"], ["gradcam.variants", "'residual'", "baseline"]),
        ("seed", -1, ["seed", "-1"]),
        ("augment", 3, ["augment is 3: should be a section with rotation_degrees, "]),
        ("gradcam.images", "x.jpg", ["gradcam.images is 'x.jpg': should be a number of images, 1 to 1000, or a list"]),
        ("augmentations.images", 0, ["augmentations.images is 0: should be a number of images, 1 to 1000, or a list"]),
        ("variants", {}, ["variants is {}: should hold at least one entry"]),
        ("variants", None, ["variants is None: should be a section of names"]),
    ],
)
def test_faults_are_named_in_one_line(path: str, value: object, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_params(changed(path, value))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_sources_of_the_net() -> None:
    address, sha256 = "http://127.0.0.1:8000/a.zip?x=1", "0aF" * 21 + "0"
    given = {"source": "url", "url": address, "sha256": sha256}
    data = parse_params(changed("data", RAW["data"] | given)).data
    assert (data.source, data.url, data.sha256) == ("url", address, sha256)
    with pytest.raises(InputError, match=r"source .url. needs data\.sha256, which is null"):
        parse_params(changed("data", RAW["data"] | given | {"sha256": None}))
    for source in ("microsoft", "filtered", "kaggle"):
        assert parse_params(changed("data.source", source)).data.url is None


def test_absent_keys_are_named() -> None:
    raw = copy.deepcopy(RAW)
    del raw["augment"]["zoom_fraction"]
    with pytest.raises(InputError, match=r"augment\.zoom_fraction is missing"):
        parse_params(raw)


def test_files_that_are_no_params(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_params(tmp_path / "absent.yaml")
    broken = tmp_path / "params.yaml"
    broken.write_text("seed: [1\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_params(broken)
    broken.write_text("")
    with pytest.raises(InputError, match=r"params\.yaml is empty: it should hold the sections seed, data, .*gradcam$"):
        load_params(broken)
    broken.write_text("- seed\n")
    with pytest.raises(InputError, match=r"params\.yaml is \['seed'\]: should be a section with seed, data"):
        load_params(broken)


@pytest.mark.parametrize("given", ["0.00001", "1e-5", "1e-05", "1.0e-5", "1E-5", ".1e-4", "1.e-5", "+1e-5"])
def test_small_numbers_stay_numbers_as_dvc_writes_them(tmp_path: Path, given: str) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(tmp_path / "params.yaml", [f"variants.augmented.learning_rate={given}"])
    assert load_params(tmp_path / "params.yaml").variants["augmented"].learning_rate == 1e-5


@pytest.mark.parametrize("written", ["1e-05", "1e-5", "0.00001", "1.0e-05", "10e-06", ".1e-4"])
def test_small_numbers_by_hand(tmp_path: Path, written: str) -> None:
    text = (ROOT / "params.yaml").read_text()
    assert "learning_rate: 1.0e-4" in text
    (tmp_path / "params.yaml").write_text(text.replace("learning_rate: 1.0e-4", f"learning_rate: {written}"))
    params = load_params(tmp_path / "params.yaml")
    assert params.variants["baseline"].learning_rate == pytest.approx(1e-5)
    assert params.model_copy(update={"variants": {}}) == load_params(ROOT / "params.yaml").model_copy(
        update={"variants": {}}
    )
