"""Image files to pixels. The project's one decoder and its one resize rule."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cvd.runtime.errors import InputError
from cvd.runtime.threads import map_ahead

N_AHEAD = 32  # images that are decoded while one is taken


def decode_image(jpeg: bytes | bytearray | memoryview | str | Path) -> np.ndarray:
    """Decode an encoded image, or a file, to (h, w, 3) uint8 RGB pixels as stored, like TensorFlow's decode_jpeg.

    An EXIF orientation that intake has left is broken: decoders disagree on it.

    Raises:
        InputError: the file is missing, or OpenCV cannot decode it.
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
    """Squash (h, w, 3) uint8 pixels to (size_px, size_px, 3): THE resize rule of everything here.

    Too long a side is shrunk by averaging pixel areas, so that nothing aliases. Too short a side is then stretched
    bilinearly. An image of that size is returned itself.
    """
    height, width = image.shape[:2]
    if height > size_px or width > size_px:
        image = cv2.resize(image, (min(width, size_px), min(height, size_px)), interpolation=cv2.INTER_AREA)
    if height < size_px or width < size_px:
        image = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return image


def load_image(path: str | Path, size_px: int) -> np.ndarray:
    """Decode a file and squash the image to (size_px, size_px, 3) uint8 RGB; InputError as of `decode_image`."""
    return resize_image(decode_image(path), size_px)


def load_images(folder: Path, paths: Sequence[str], size_px: int) -> np.ndarray:
    """Load images of a folder as `load_image` does, on all cores: (n, size_px, size_px, 3), uint8."""
    return np.stack(list(map_ahead(lambda path: load_image(folder / path, size_px), paths, n_ahead=N_AHEAD)))


def encode_jpeg(image: np.ndarray, *, quality: int = 95) -> bytes:
    """Encode (h, w, 3) uint8 RGB pixels as JPEG; `quality` is 0 to 100."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def limit_opencv_threads() -> None:
    """Make each OpenCV call run on its caller's thread, for the whole process.

    Images are spread over threads already, and OpenCV's own would compete with those.
    """
    cv2.setNumThreads(1)
