"""cvd.data.intake.inspection and cvd.data.intake.colours."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from photo_samples import encode, make_jpeg, make_picture, write_zip
from PIL import Image, ImageCms, ImageOps

from cvd.data.archives.formats import RefusedError, find_format
from cvd.data.images.pixels import decode_image
from cvd.data.intake import inspection as module
from cvd.data.intake.inspection import inspect_image


def read(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert "exif" not in image.info or image.getexif().get(0x0112, 1) == 1
    return np.asarray(image).astype(int)


def assert_looks_like(data: bytes, expected: Image.Image, tolerance: float = 12.0) -> None:
    pixels = read(data)
    assert pixels.shape[:2] == (expected.height, expected.width)
    assert np.abs(pixels - np.asarray(expected.convert("RGB")).astype(int)).mean() < tolerance


def test_plain_passes_with_its_facts() -> None:
    data = make_jpeg(1)
    intake = inspect_image(data)
    assert intake.data is data
    assert (intake.words, intake.width, intake.height) == ("", 64, 48)
    assert intake.sha256 == intake.source_sha256 == hashlib.sha256(data).hexdigest()
    assert intake.thumbnail.shape == (16, 16, 3)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation(orientation: int) -> None:
    upright = make_picture(2)
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    intake = inspect_image(encode(upright.transpose(stored), quality=95, exif=exif))
    assert intake.words == "orientation"
    assert_looks_like(intake.data, upright)


def test_upright_exif_passes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    data = encode(make_picture(2), exif=exif)
    assert inspect_image(data).data is data


def test_broken_exif_passes() -> None:
    data = encode(make_picture(2), exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert inspect_image(data).data is data


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_other_formats(kind: str) -> None:
    picture = make_picture(4)
    intake = inspect_image(encode(picture, kind, **({"quality": 95} if kind == "WEBP" else {})))
    assert intake.words.split()[0] == kind.lower()
    assert_looks_like(intake.data, picture, 20)
    assert intake.sha256 == hashlib.sha256(intake.data).hexdigest() != intake.source_sha256


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("L", "JPEG", "greyscale"),
        ("CMYK", "JPEG", "cmyk"),
        ("L", "PNG", "png greyscale"),
        ("1", "PNG", "png greyscale"),
        ("LA", "PNG", "png greyscale"),
        ("P", "PNG", "png palette"),
        ("I;16", "PNG", "png 16-bit greyscale"),
        ("I;16", "TIFF", "tiff 16-bit greyscale"),
        ("CMYK", "TIFF", "tiff cmyk"),
    ],
)
def test_other_modes(mode: str, kind: str, words: str) -> None:
    picture = make_picture(5)
    if mode == "I;16":
        stored = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        expected = picture.convert("L")
    else:
        stored = picture.convert(mode)
        expected = picture.convert({"LA": "L", "P": "RGB", "CMYK": "RGB"}.get(mode, mode))
    intake = inspect_image(encode(stored, kind))
    assert intake.words == words
    assert_looks_like(intake.data, expected, 40 if mode == "1" else 20)


def test_16_bit_colour_png() -> None:
    row = b"\0" + struct.pack(">3H", 200 * 257, 100 * 257, 50 * 257) * 32
    chunks = [
        (b"IHDR", struct.pack(">2I5B", 32, 32, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * 32)),
        (b"IEND", b""),
    ]
    data = bytearray(b"\x89PNG\r\n\x1a\n")
    for name, body in chunks:
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    intake = inspect_image(bytes(data))
    assert intake.words == "png 16-bit"
    assert np.abs(read(intake.data)[0, 0] - [200, 100, 50]).max() <= 2


def test_transparency_is_laid_on_white() -> None:
    picture = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 20, 40))
    intake = inspect_image(encode(picture, "PNG"))
    assert intake.words == "png transparency"
    pixels = read(intake.data)
    assert np.abs(pixels[20, 5] - [0, 0, 255]).max() < 6
    assert np.abs(pixels[20, 35] - 255).max() < 6


def test_animation_gives_its_first_frame() -> None:
    frames = [make_picture(i) for i in (6, 7)]
    intake = inspect_image(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert "first_frame" in intake.words.split()
    assert_looks_like(intake.data, frames[0], 20)


def test_a_broken_exif_turns_nothing() -> None:
    """Decoders disagree on these; what training reads must be what intake saw."""
    picture, exif = make_picture(2), Image.Exif()
    exif[0x0112] = 6
    data = encode(picture, quality=95, exif=exif)
    start = data.index(b"Exif")
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data)
        for at in start + rng.integers(6, 32, 2):
            broken[at] = rng.choice([0, 1, 255])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            intake = inspect_image(bytes(broken))
        pixels = decode_image(intake.data)
        assert pixels.shape == (intake.height, intake.width, 3)
        expected = picture.transpose(Image.Transpose.ROTATE_270) if intake.words else picture
        assert np.abs(pixels.astype(int) - np.asarray(expected)).mean() < 12


def test_ycck() -> None:
    """Photoshop's: inverted CMYK as luma, chroma and black."""
    picture = make_picture(9)
    inverted = np.asarray(ImageOps.invert(picture).convert("YCbCr"))
    stored = 255 - np.dstack([inverted, np.full(inverted.shape[:2], 255, np.uint8)])
    data = bytearray(encode(make_cmyk(stored), quality=95))
    data[data.index(b"Adobe") + 11] = 2
    intake = inspect_image(bytes(data))
    assert intake.words == "cmyk"
    assert_looks_like(intake.data, picture)


def make_cmyk(pixels: np.ndarray) -> Image.Image:
    return Image.merge("CMYK", [Image.fromarray(np.ascontiguousarray(pixels[..., i])) for i in range(4)])


def test_a_tiff_of_64_bit_offsets_is_a_tiff() -> None:
    data = encode(make_picture(1), "TIFF", big_tiff=True)
    assert data.startswith(b"II+")
    assert inspect_image(data).pixels_digest == inspect_image(encode(make_picture(1), "TIFF")).pixels_digest
    with pytest.raises(RefusedError, match=r"damaged|truncated"):
        inspect_image(b"MM\0+\0\x08\0\0" + data[8:])


def test_16_bit_colour_tiff() -> None:
    pixels = np.asarray(make_picture(3))
    _, data = cv2.imencode(".tif", pixels[..., ::-1].astype(np.uint16) * 257)
    intake = inspect_image(data.tobytes())
    assert intake.words == "tiff 16-bit"
    assert_looks_like(intake.data, make_picture(3), 20)


def make_wide_profile() -> bytes:
    """A profile whose description is not sRGB: Lab is refused for RGB, so take sRGB and rename it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace("sRGB built-in".encode("utf-16-be"), "Strange thing".encode("utf-16-be"))


def test_profiles() -> None:
    picture = make_picture(8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = encode(picture, icc_profile=srgb)
    assert inspect_image(plain).data is plain
    other = inspect_image(encode(picture, quality=95, icc_profile=make_wide_profile()))
    assert other.words == "profile"
    assert "icc_profile" not in Image.open(io.BytesIO(other.data)).info
    assert_looks_like(other.data, picture)
    broken = encode(picture, icc_profile=b"no profile at all" * 20)
    assert inspect_image(broken).data is broken


def test_second_picture_behind_the_first_is_cut_off() -> None:
    pictures = [make_picture(i) for i in (9, 10)]
    data = encode(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    intake = inspect_image(data)
    assert intake.words == "trimmed"
    assert_looks_like(intake.data, pictures[0])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
        (b"\xff\xd8", "not_an_image"),
        (b"PK\x03\x04" + b"x" * 50, "not_an_image"),
        (b"BMW is no bitmap, whatever it begins with", "not_an_image"),
        (b"\0\0\0\x20ftypheic" + b"\0" * 50, "unsupported"),
        (b"8BPS" + b"\0" * 50, "unsupported"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "truncated"),
        (b"GIF89a" + b"\xff" * 50, "damaged"),
        (b"RIFF\x20\0\0\0WEBPVP8 " + b"x" * 50, "damaged"),
        (encode(make_picture(1), "PNG")[:-200], "truncated"),
        (encode(make_picture(1, width=15), "PNG"), "too_small"),
        (encode(Image.new("F", (40, 40)), "TIFF"), "unsupported"),
        (encode(Image.new("I", (40, 40)), "TIFF"), "unsupported"),
    ],
)
def test_refusals(data: bytes, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        inspect_image(data)
    assert caught.value.reason == reason, caught.value.detail
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("side", [20_000, 65_000])
def test_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    data = bytearray(make_jpeg(1))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">2H", side, side)
    with pytest.raises(RefusedError, match="too_large"):
        inspect_image(bytes(data))
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s2I5B", 13, b"IHDR", side, side, 8, 2, 0, 0, 0)
    png += struct.pack(">I", zlib.crc32(png[12:29])) + struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RefusedError, match="too_large"):
            inspect_image(png)


def test_large_images_are_decoded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALONE_PIXELS", 100)
    data = make_jpeg(1)
    assert inspect_image(data).data is data


def test_the_same_pixels_have_the_same_digest() -> None:
    data = make_jpeg(11)
    decoded = Image.open(io.BytesIO(data))
    png = encode(decoded, "PNG")
    assert (
        inspect_image(data).pixels_digest
        == inspect_image(png).pixels_digest
        == inspect_image(data + b"x").pixels_digest
    )
    assert inspect_image(data).pixels_digest != inspect_image(make_jpeg(12)).pixels_digest


def test_find_format_needs_64_bytes_only() -> None:
    for kind in ("PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG"):
        assert find_format(encode(make_picture(1), kind)[:64]) == kind


def test_random_damage_never_raises_anything_else() -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    sources = [
        encode(make_picture(1, width=32, height=32), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
    ]
    sources.append(encode(make_picture(1), exif=exif, icc_profile=make_wide_profile(), progressive=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in sources:
            for _ in range(40):
                broken = bytearray(data)
                for at in rng.integers(0, len(data), rng.integers(1, 20)):
                    broken[at] = rng.integers(256)
                try:
                    intake = inspect_image(bytes(broken))
                except RefusedError:
                    continue
                assert min(intake.width, intake.height) >= module.MIN_SIDE_PX


def measure_peak(archive: Path) -> list[int]:
    """Images taken, images refused, MB before and at the peak."""
    command = [sys.executable, Path(__file__).with_name("measure_peak.py"), archive]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.splitlines()[0].split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_a_gigabyte(tmp_path: Path) -> None:
    """Of many large files that are refused, and of a progressive JPEG of 49 million pixels, which is decoded thrice."""
    rest = bytes(31 * 2**20)
    kinds = [encode(make_picture(1, width=300, height=200), kind)[:2000] for kind in ("PNG", "GIF", "BMP")]
    members = {f"cat.{i}.jpg": kinds[i % 3] + rest for i in range(18)}
    n, n_refused, before, peak = measure_peak(write_zip(tmp_path / "refused.zip", members, zipfile.ZIP_DEFLATED))
    assert n + n_refused == 18
    assert n_refused >= 10
    assert peak < 400
    x = np.broadcast_to(np.linspace(0, 255, 7000).astype(np.uint8), (7000, 7000))
    photo = encode(Image.fromarray(np.stack([x, x.T, x], -1)), progressive=True, subsampling=0)
    n, n_refused, before, peak = measure_peak(write_zip(tmp_path / "large.zip", {"cat.1.jpg": photo}))
    assert (n, n_refused) == (1, 0)
    assert before < 200
    assert peak < 1000
