"""From any of Pillow's modes, profiles and orientations to plain upright RGB in sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_ORIENTATION = 0x0112
# EXIF orientation -> what turns the stored pixels upright (Exif 2.32, 4.6.4; as PIL.ImageOps.exif_transpose).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def make_upright_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Turn a loaded image of any mode into upright RGB in sRGB, and list words for what was done.

    Raises:
        ValueError: pixels that are no colours (32 bits, floating point).
    """
    words = ["first_frame"] if getattr(image, "is_animated", False) else []
    profile, turn = image.info.get("icc_profile"), _find_turn(image)
    for step in (_reduce_depth, _lay_on_white):
        image, word = step(image)
        words += word
    if image.mode != "RGB":
        words.append({"L": "greyscale", "CMYK": "cmyk"}.get(image.mode, "colours"))
    if profile and (converted := _convert_profile(image, profile)):
        image = converted
        words.append("profile")
    if image.mode != "RGB":
        image = image.convert("RGB")
    if turn is not None:
        image = image.transpose(turn)
        words.append("orientation")
    return image, words


def _find_turn(image: Image.Image) -> Image.Transpose | None:
    if image.format == "JPEG" and "exif" not in image.info:
        return None
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF raises nearly anything, and says nothing about the pixels
        return None


def _reduce_depth(image: Image.Image) -> tuple[Image.Image, list[str]]:
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise ValueError("32-bit pixels without a known value of white")
    if image.mode == "1":
        return image.convert("L"), []
    if not image.mode.startswith("I"):
        return image, []
    values = np.asarray(image)  # (h, w), 16 bits in 2 or 4 bytes
    upper = np.empty(values.shape, np.uint8)
    for target, row in zip(upper, values, strict=True):  # a row at a time: all of them would be gigabytes
        target[:] = row.clip(0, 65535) >> 8
    return Image.fromarray(upper), ["16-bit"]


def _lay_on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    words = []
    if image.mode in ("P", "PA"):
        words.append("palette")
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif "transparency" in image.info and image.mode in ("RGB", "L"):
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if not image.has_transparency_data:
        return image, words
    mode = "L" if image.mode in ("L", "LA") else "RGB"
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert(mode), words
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)  # in place: an image may fill a fifth of the memory there is
    return white.convert(mode) if mode == "L" else white, [*words, "transparency"]


def _convert_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert an image to sRGB; None when it is sRGB, or its profile is broken or of another model."""
    mode, is_srgb = _read_profile(profile)
    if mode != image.mode or is_srgb:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError:
        return None


@lru_cache(maxsize=64)
def _read_profile(profile: bytes) -> tuple[str, bool]:
    """Read the Pillow mode that a colour profile is for ("" when broken), and whether it is sRGB."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        description = ImageCms.getProfileDescription(opened).lower()
        return _PROFILE_MODES.get(opened.profile.xcolor_space, ""), "srgb" in description
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "", False
