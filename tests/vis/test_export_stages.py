"""What the exports are made of: which photos, which networks, which errors."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvd.data.intake.photos import read_own_photos
from cvd.runtime.errors import InputError
from cvd.runtime.params.graph import choose_networks
from cvd.runtime.params.loading import load_params

ROOT = Path(__file__).parents[2]


def test_photos_of_a_folder_or_one_of_any_kind(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "README.md").write_text("not a photo")
    for name, mode in (("b.jpg", "CMYK"), ("a.png", "LA"), ("more/c.JPEG", "RGB"), (".hidden.jpg", "RGB")):
        Image.new(mode, (30, 20)).save(tmp_path / name)
    photos = read_own_photos(tmp_path)
    assert list(photos) == ["a.png", "b.jpg", "more/c.JPEG"]
    assert {photo.shape for photo in photos.values()} == {(20, 30, 3)}
    assert np.array_equal(read_own_photos(tmp_path / "b.jpg")["b.jpg"], photos["b.jpg"])


def test_an_empty_folder_is_no_fault(tmp_path: Path) -> None:
    assert read_own_photos(tmp_path) == {}


def test_photos_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gradcam\.photos is .*none'"):
        read_own_photos(tmp_path / "none")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg cannot be used"):
        read_own_photos(tmp_path)


def test_networks_are_those_that_are_there_each_once(tmp_path: Path) -> None:
    params = load_params(ROOT / "params.yaml")
    # tfrecord is baseline once more, baseline_half saw half of the images, no block describes others.
    contents = {
        "transfer": b"t",
        "tfrecord": b"b",
        "baseline": b"b",
        "baseline_half": b"h",
        "others": b"o",
        "small": b"s",
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.keras").write_bytes(content)
    assert choose_networks(params, None, tmp_path) == ["baseline", "transfer", "small"]
    named = ["tfrecord", "baseline_half", "baseline"]
    assert choose_networks(params, named, tmp_path) == named


def test_networks_that_are_not_there_are_named(tmp_path: Path) -> None:
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(InputError, match=r"holds no network of params\.yaml's variants: run `dvc repro`"):
        choose_networks(params, None, tmp_path)
    with pytest.raises(InputError, match=r"variant 'small' has no network .*small\.keras: `cvd add small`"):
        choose_networks(params, ["small"], tmp_path)
