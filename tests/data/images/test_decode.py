"""One decoder, one resize rule."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cvd.data.images.pixels import decode_image, encode_jpeg, limit_opencv_threads, load_image, resize_image
from cvd.runtime.errors import InputError


def gradient(height: int, width: int) -> np.ndarray:
    """Smooth, with different channels: what JPEG keeps well and a swapped channel would show."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, np.full(x.shape, 40)], axis=-1).astype(np.uint8)


def test_decodes_to_rgb_as_pillow_does(tmp_path: Path) -> None:
    path = tmp_path / "gradient.jpg"
    Image.fromarray(gradient(40, 60)).save(path, quality=95)
    decoded = decode_image(path)
    assert decoded.shape == (40, 60, 3)
    assert decoded.dtype == np.uint8
    # Both are built on libjpeg-turbo, whose versions may round differently.
    assert np.abs(decoded.astype(int) - np.asarray(Image.open(path)).astype(int)).max() <= 2


def test_bytes_and_path_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "gradient.jpg"
    path.write_bytes(encode_jpeg(gradient(30, 30)))
    np.testing.assert_array_equal(decode_image(path), decode_image(path.read_bytes()))
    np.testing.assert_array_equal(decode_image(str(path)), decode_image(memoryview(path.read_bytes())))


def test_encode_then_decode_is_near(tmp_path: Path) -> None:
    image = gradient(64, 64)
    assert np.abs(decode_image(encode_jpeg(image)).astype(int) - image).max() <= 6


def test_pixels_are_as_stored_whatever_the_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # intake obeys it; where one is left, it is a broken one
    path = tmp_path / "turned.jpg"
    Image.fromarray(gradient(20, 50)).save(path, exif=exif)
    assert decode_image(path).shape == (20, 50, 3)


def test_grey_and_png_become_rgb(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(gradient(10, 12)[..., 0]).save(path)
    decoded = decode_image(path)
    np.testing.assert_array_equal(decoded, np.repeat(gradient(10, 12)[..., :1], 3, axis=-1))


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0"])
def test_refuses_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.jpg"):
        decode_image(path)
    with pytest.raises(InputError, match=f"{len(content)} bytes"):
        decode_image(content)


def test_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jpg: No such file"):
        load_image(tmp_path / "nowhere.jpg", 32)


def test_resize_averages_areas_when_shrinking() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    expected = image.reshape(24, 2, 24, 4, 3).mean(axis=(1, 3))
    assert np.abs(resize_image(image, 24) - expected).max() <= 0.5 + 1e-6


def test_resize_is_bilinear_when_enlarging() -> None:
    image = gradient(20, 20)
    np.testing.assert_array_equal(resize_image(image, 33), cv2.resize(image, (33, 33), interpolation=cv2.INTER_LINEAR))


def test_resize_shrinks_one_side_and_stretches_the_other_without_aliasing() -> None:
    stripes = np.zeros((16, 128, 3), np.uint8)
    stripes[:, ::2] = 200  # finer than the result can show: must become an even grey
    resized = resize_image(stripes, 32)
    assert resized.shape == (32, 32, 3)
    assert (resized == 100).all()


def test_resize_keeps_what_fits() -> None:
    image = gradient(32, 32)
    assert resize_image(image, 32) is image


def test_load_is_decode_then_resize(tmp_path: Path) -> None:
    path = tmp_path / "gradient.jpg"
    path.write_bytes(encode_jpeg(gradient(70, 90)))
    np.testing.assert_array_equal(load_image(path, 32), resize_image(decode_image(path), 32))


def test_opencv_works_on_its_callers_thread() -> None:
    limit_opencv_threads()
    assert cv2.getNumThreads() == 1
