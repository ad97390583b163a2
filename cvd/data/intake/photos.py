"""The user's own photos, of any kind, read for a trained model. No TensorFlow."""

import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cvd.data.archives.formats import RefusedError
from cvd.runtime.errors import InputError
from cvd.runtime.threads import map_ahead

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

MAX_BYTES = 100 * 2**20  # of a file
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif")


class Photo(NamedTuple):
    """A photo's pixels, upright RGB (h, w, 3) uint8, or what is wrong with it."""

    path: Path
    pixels: "np.ndarray | None"
    fault: str = ""


def find_photos(given: Sequence[Path]) -> list[Path]:
    """Find the files named, and the image files in the folders named, at any depth, in order.

    Raises:
        InputError: a path does not exist, a folder cannot be listed or holds no image file.
    """
    photos: list[Path] = []
    for path in given:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            raise InputError(f"photo {show_path(path)} {reason}: give the path of a file or a folder") from error
        inside = list_photos(path) if is_folder else [path]
        if not inside:
            raise InputError(f"folder {show_path(path)} holds no photo: expected files ending in {', '.join(SUFFIXES)}")
        photos += inside
    return photos


def list_photos(folder: Path) -> list[Path]:
    """List a folder's image files, by their endings, at any depth, in order; hidden ones are left out.

    Links to files count, also broken ones, which reading reports. Links to folders are not followed.

    Raises:
        InputError: a folder cannot be listed.
    """
    photos: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"folder {show_path(folder)} cannot be listed: {error.strerror}") from error
    for entry in inside:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            photos += list_photos(path)
        elif path.suffix.lower() in SUFFIXES and not _is_special(path):
            photos.append(path)
    return photos


def _is_special(path: Path) -> bool:
    """True where a path is known to be no file: a folder behind a link, a pipe, a device."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def show_path(path: Path) -> str:
    """Write a path on one line and in printable characters, whatever its name holds."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(path))


def name_photos(paths: Sequence[Path], given: Sequence[Path]) -> dict[Path, Path]:
    """Choose where to put what is made of each photo: relative paths, no two photos with the same.

    Prefer a photo's own name, ending included, then its path below the given folder. The next choice adds the folder's
    name, and the last is the whole path. `given` are the files and folders that `find_photos` found the photos from.
    """
    choices = {path: _list_names(path, given) for path in paths}
    level = dict.fromkeys(choices, 0)
    while True:
        names = {path: names[level[path]] for path, names in choices.items()}
        owners: dict[Path, list[Path]] = {}
        for path, name in names.items():
            owners.setdefault(name, []).append(path)
        # One file, given in two ways, has nothing to be told apart from.
        shared = [path for group in owners.values() if len({choices[one][-1] for one in group}) > 1 for path in group]
        longer = [path for path in shared if level[path] < len(choices[path]) - 1]
        if not longer:
            return names
        for path in longer:
            level[path] += 1


def _list_names(path: Path, given: Sequence[Path]) -> list[Path]:
    """List names for a photo, from short to whole, for `name_photos`."""
    folder = next((place for place in given if place != path and path.is_relative_to(place)), path.parent)
    below, whole = path.relative_to(folder), path.absolute()
    return [Path(path.name), below, Path(folder.absolute().name, below), whole.relative_to(whole.anchor)]


def take_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield `size` at a time; the last batch may be smaller."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def read_photos(
    paths: Iterable[Path], *, prepare: "Callable[[np.ndarray], np.ndarray] | None" = None, n_ahead: int = 4
) -> Iterator[Photo]:
    """Read photos on threads, in order, and hold few of them at a time, however many there are.

    `prepare` is applied to the pixels on the thread that read them. `n_ahead` photos may be read before they are asked
    for; each large one takes up to 150 MB.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata
        yield from map_ahead(partial(read_photo, prepare=prepare), paths, n_ahead=n_ahead)


def read_photo(path: Path, prepare: "Callable[[np.ndarray], np.ndarray] | None" = None) -> Photo:
    """Read a photo's file; `prepare` is applied to its pixels."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return Photo(path, None, f"too_large: more than {MAX_BYTES // 2**20} MB")
        pixels = decode_photo(data)
    except OSError as error:
        return Photo(path, None, f"cannot be read: {error.strerror}")
    except (RefusedError, InputError) as error:
        return Photo(path, None, str(error))
    return Photo(path, prepare(pixels) if prepare else pixels)


def decode_photo(data: bytes) -> "np.ndarray":
    """Decode a photo as intake does for training, whatever its format: checked in full, upright (h, w, 3) uint8 RGB.

    Raises:
        RefusedError: it cannot be used.
        InputError: intake took it, but it cannot be decoded.
    """
    from cvd.data.images.pixels import decode_image  # `cvd predict` refuses a wrong path without loading OpenCV
    from cvd.data.intake.inspection import inspect_image

    return decode_image(inspect_image(data).data)


def read_own_photos(path: Path) -> "dict[str, np.ndarray]":
    """Read the photos of `gradcam.photos` by name: one file, or the image files of a folder, which may have none.

    Raises:
        InputError: there is no such file or folder, or a photo cannot be read.
    """
    if not path.exists():
        raise InputError(f"gradcam.photos is {str(path)!r}: no such file or folder")
    is_folder, photos = path.is_dir(), {}
    for photo in read_photos(list_photos(path) if is_folder else [path]):
        if photo.pixels is None:
            raise InputError(f"gradcam.photos: {photo.path} cannot be used: {photo.fault}")
        photos[photo.path.relative_to(path).as_posix() if is_folder else photo.path.name] = photo.pixels
    return photos


def report_faults(photos: Iterable[Photo]) -> int:
    """Say on stderr what is wrong with photos; return how many are."""
    bad = [photo for photo in photos if photo.pixels is None]
    for photo in bad:
        print(f"skipped {show_path(photo.path)}: {photo.fault}", file=sys.stderr)
    return len(bad)
