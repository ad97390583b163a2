"""The stages around the exports: which photos, which errors."""

from pathlib import Path

import pytest

from cvd.errors import InputError
from stages.gradcam import list_photos


def test_a_folder_of_photos_without_its_readme(tmp_path: Path) -> None:
    for name in ("README.md", ".gitkeep", "b.jpg", "a.png", "more/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert list(list_photos(tmp_path)) == ["a.png", "b.jpg", "more/c.jpg"]
    assert list_photos(tmp_path / "b.jpg") == {"b.jpg": tmp_path / "b.jpg"}


def test_photos_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gradcam\.photos is .*none'"):
        list_photos(tmp_path / "none")
