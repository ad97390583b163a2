"""Image files to pixels. The project's one decoder and its one resize rule."""

from pathlib import Path

import cv2
import numpy as np

from cvd.runtime.errors import InputError


def decode_image(jpeg: bytes | bytearray | memoryview | str | Path) -> np.ndarray:
    """Decode an image to RGB, its pixels as they are stored, as TensorFlow's decode_jpeg does.

    Intake has turned every image upright. An EXIF orientation that is left is a broken one, on which decoders disagree.

    Args:
        jpeg: the encoded bytes, or the path of a file; JPEG, PNG and whatever else OpenCV reads.

    Returns:
        (h, w, 3), uint8, RGB.

    Raises:
        InputError: the file is missing, or it is not an image that OpenCV can decode.
    """
    if isinstance(jpeg, str | Path):
        name = str(jpeg)
        try:
            buffer = np.frombuffer(Path(jpeg).read_bytes(), np.uint8)
        except OSError as error:
            raise InputError(f"cannot read image {jpeg}: {error.strerror}") from error
    else:
        buffer = np.frombuffer(jpeg, np.uint8)
        name = f"of {buffer.size} bytes"
    image = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION) if buffer.size else None
    if image is None:
        raise InputError(f"cannot decode image {name}: it must be a whole JPEG or PNG file")
    return image


def resize_image(image: np.ndarray, size_px: int) -> np.ndarray:
    """Squash an image to a square: THE resize rule of training, shards, features, exports and `cvd predict`.

    A side that is too long is shrunk by averaging pixel areas, so that nothing aliases; one that is too short
    is then stretched bilinearly.

    Args:
        image: (h, w, 3), uint8.
        size_px: side of the result, in pixels.

    Returns:
        (size_px, size_px, 3), uint8; `image` itself where nothing is to be done.
    """
    height, width = image.shape[:2]
    if height > size_px or width > size_px:
        image = cv2.resize(image, (min(width, size_px), min(height, size_px)), interpolation=cv2.INTER_AREA)
    if height < size_px or width < size_px:
        image = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return image


def load_image(path: str | Path, size_px: int) -> np.ndarray:
    """Decode a file and squash the image.

    Returns:
        (size_px, size_px, 3), uint8, RGB.

    Raises:
        InputError: the file is missing or cannot be decoded.
    """
    return resize_image(decode_image(path), size_px)


def encode_jpeg(image: np.ndarray, *, quality: int = 95) -> bytes:
    """Encode (h, w, 3) uint8 RGB pixels as JPEG; `quality` is 0 to 100."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def limit_opencv_threads() -> None:
    """Make each OpenCV call run on its caller's thread, for the whole process.

    tf.data and our own pools spread images over threads already. An image of 150 px is too small to share among
    OpenCV's inner threads, which would compete with those and with TensorFlow's.
    """
    cv2.setNumThreads(1)
