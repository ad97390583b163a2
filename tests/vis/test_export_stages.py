"""What the exports are made of: which photos, which errors."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvd.data.intake.photos import read_own_photos
from cvd.runtime.errors import InputError


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
