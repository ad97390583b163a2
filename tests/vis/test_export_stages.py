"""The stages around the exports: which photos, which errors."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvd.runtime.errors import InputError
from stages.filters import round_activation
from stages.gradcam import read_own_photos


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.00004321, "4.3e-5"), (0.0003, "3.0e-4"), (-0.00052, "-5.2e-4"), (0.0123, "0.012"), (0.5, "0.50"),
        (1.26, "1.3"), (9.6, "9.6"), (9.99, "10"), (45.6, "46"), (1234.5, "1234"),
    ],
)  # fmt: skip
def test_activations_keep_two_significant_digits(value: float, text: str) -> None:
    assert round_activation(value) == text


def test_photos_of_a_folder_or_one_of_any_kind(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "README.md").write_text("not a photo")
    for name, mode in (("b.jpg", "CMYK"), ("a.png", "LA"), ("more/c.JPEG", "RGB"), (".hidden.jpg", "RGB")):
        Image.new(mode, (30, 20)).save(tmp_path / name)
    found = read_own_photos(tmp_path)
    assert list(found) == ["a.png", "b.jpg", "more/c.JPEG"]
    assert {photo.shape for photo in found.values()} == {(20, 30, 3)}
    assert np.array_equal(read_own_photos(tmp_path / "b.jpg")["b.jpg"], found["b.jpg"])


def test_an_empty_folder_is_no_fault(tmp_path: Path) -> None:
    assert read_own_photos(tmp_path) == {}


def test_photos_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gradcam\.photos is .*none'"):
        read_own_photos(tmp_path / "none")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg cannot be used"):
        read_own_photos(tmp_path)
