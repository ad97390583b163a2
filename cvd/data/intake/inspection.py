"""From the bytes of a file of unknown kind to an upright RGB JPEG, or to the reason why not.

A plain upright RGB JPEG passes byte for byte. Others are normalised, and words say how: `png`, `gif`, `bmp`, `webp`,
`tiff` (the format), `first_frame`, `16-bit`, `palette`, `transparency` (laid on white), `greyscale`, `cmyk`, `colours`
(another model), `profile` (converted to sRGB), `orientation` (turned upright), and cvd.data.intake.jpeg's two.
"""

import hashlib
import io
import threading
import traceback
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, TiffImagePlugin

from cvd.data.archives.formats import RefusedError, find_format
from cvd.data.intake import jpeg
from cvd.data.intake.colours import make_upright_rgb

MIN_SIDE_PX = 16
MAX_PIXELS = 50_000_000
THUMBNAIL_PX = 16
_ALONE_PIXELS = 4_000_000  # images above are decoded one at a time, whatever the number of threads, to bound the memory
_MAX_SCANS = 200  # a progressive JPEG has about 10; thousands are an attack on the processor's time
_QUALITY = 95
_STRIP_PX = 256  # rows
_BITS_PER_SAMPLE = 258  # a TIFF's tag
_FORMATS = {"JPEG": "jpeg", "PNG": "png", "GIF": "gif", "BMP": "bmp", "WEBP": "webp", "TIFF": "tiff"}
_alone = threading.Lock()


@dataclass(frozen=True, slots=True)
class Intake:
    """An image that is used."""

    data: bytes  # the upright RGB JPEG
    words: str  # what was done to it, separated by blanks; empty when nothing
    width: int  # px
    height: int  # px
    sha256: str  # of `data`
    source_sha256: str  # of the bytes it was made from
    pixels_digest: str  # of the decoded upright RGB pixels and their size
    thumbnail: NDArray[np.uint8]  # (THUMBNAIL_PX, THUMBNAIL_PX, 3) uint8, each pixel the mean of its part


def inspect_image(data: bytes) -> Intake:
    """Decode an image in full, and normalise it unless it is a plain upright RGB JPEG; RefusedError where unusable.

    Pillow warns about oddities through `warnings`; callers in threads silence them around the threads.
    """
    kind = find_format(data)
    try:
        words, body = _repair(data) if kind == "JPEG" else ([_FORMATS[kind]], data)
        image = _open(body, kind)
        _check_size(image)
        with _alone if image.width * image.height > _ALONE_PIXELS else nullcontext():
            return _take(image, kind, body, data, words)
    except RefusedError:
        raise
    except Image.DecompressionBombError as error:
        raise RefusedError("too_large", str(error)) from error
    except Exception as error:  # decoders of untrusted bytes raise nearly anything
        text = str(error) or type(error).__name__
        traceback.clear_frames(error.__traceback__)  # they hold bytes and pixels until Python's collector runs
        unsupported = "-bit" in text or "unsupported" in text.lower()
        reason = "truncated" if "truncated" in text.lower() else "unsupported" if unsupported else "damaged"
        raise RefusedError(reason, text) from error


def _take(image: Image.Image, kind: str, body: bytes, source: bytes, words: list[str]) -> Intake:
    if kind == "JPEG":
        _check_scan(image, body, words)
    image.load()
    upright, more = make_upright_rgb(image)
    if _is_16_bit(image, kind, body) and "16-bit" not in more:
        more = ["16-bit", *more]
    if more or kind != "JPEG":
        words = [*words, *more]
        buffer = io.BytesIO()
        upright.info = {}
        upright.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
        body = buffer.getvalue()
    thumbnail = upright.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    sha256 = hashlib.sha256(body).hexdigest()
    return Intake(
        data=body,
        words=" ".join(words),
        width=upright.width,
        height=upright.height,
        sha256=sha256,
        source_sha256=sha256 if body is source else hashlib.sha256(source).hexdigest(),
        pixels_digest=digest_pixels(upright).hexdigest(),
        thumbnail=np.asarray(thumbnail, np.uint8),
    )


def _open(data: bytes, kind: str) -> Image.Image:
    # JpegImageFile itself: Image.open turns a JPEG with a second picture behind it (MPO) into another format.
    file = io.BytesIO(data)
    return JpegImagePlugin.JpegImageFile(file) if kind == "JPEG" else Image.open(file, formats=[kind])


def _check_size(image: Image.Image) -> None:
    size = f"{image.width}x{image.height} px"
    if image.width * image.height > MAX_PIXELS:
        raise RefusedError("too_large", f"{size}, more than {MAX_PIXELS:,} pixels")
    if min(image.size) < MIN_SIDE_PX:
        raise RefusedError("too_small", f"{size}, a side below {MIN_SIDE_PX} px")


def _is_16_bit(image: Image.Image, kind: str, body: bytes) -> bool:
    """True where there were 16 bits a channel; Pillow keeps the upper 8."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) == 16
    return kind == "PNG" and body[24] == 16


def _decode(data: bytes) -> bytes:
    return digest_pixels(_open(data, "JPEG")).digest()


def digest_pixels(image: Image.Image) -> "hashlib._Hash":
    """Hash an image's size and pixels, a strip at a time: a copy of all of them would be 150 MB."""
    image.load()
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    for top in range(0, image.height, _STRIP_PX):
        digest.update(image.crop((0, top, image.width, min(top + _STRIP_PX, image.height))).tobytes())
    return digest


def _repair(data: bytes) -> tuple[list[str], bytes]:
    """Apply `jpeg`'s first two rules: words, and a JPEG that ends at its end marker."""
    structure = jpeg.read_structure(data)
    if structure.n_scans > _MAX_SCANS:
        raise RefusedError("unsupported", f"a JPEG of more than {_MAX_SCANS} scans")
    if not structure.n_scans and structure.end is None:
        raise RefusedError("truncated", "the JPEG ends before its pixels begin")
    if structure.n_scans and not structure.has_all_scans:
        raise RefusedError("truncated", f"the JPEG ends before the last of its scans, with {structure.n_scans}")
    if structure.end is not None:
        if structure.end == len(data):
            return [], data
        return ["trimmed"], jpeg.drop_index(data[: structure.end])
    body = data.removesuffix(b"\xff")
    return ["closed"], body + b"\xff\xd9"


def _check_scan(image: Image.Image, body: bytes, words: list[str]) -> None:
    """Apply the third rule: a JPEG whose scan lacks data is refused."""
    # Of a progressive one, the last scan only refines: what is missing shows as blur, not as grey.
    suspect = "closed" in words or "progression" in image.info
    if not suspect:
        corner = image.crop((image.width - 1, image.height - 1, image.width, image.height))
        suspect = jpeg.has_grey_end(np.asarray(corner, np.uint8))
    if suspect and not jpeg.is_complete(body[:-2], _decode):
        raise RefusedError("truncated", "a part of the JPEG's pixels is missing")
