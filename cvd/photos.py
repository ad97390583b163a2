"""Photos of people's own, of any kind, read for a trained model. No TensorFlow."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cvd.errors import InputError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

BATCH_SIZE = 32
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif")


class Photo(NamedTuple):
    """A photo's pixels, upright RGB (h, w, 3) uint8, or what is wrong with it."""

    path: Path
    pixels: "np.ndarray | None"
    fault: str = ""


def find_photos(given: Sequence[Path]) -> list[Path]:
    """The files named, and the image files in the folders named, at any depth, in order.

    Raises:
        InputError: a path does not exist, or a folder holds no image file.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = list_photos(path)
            if not inside:
                raise InputError(f"folder {path} holds no photo: expected files ending in {', '.join(SUFFIXES)}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"photo {path} does not exist: give the path of a file or a folder")
    return found


def list_photos(folder: Path) -> list[Path]:
    """The image files of a folder, by their endings, at any depth, in order; hidden ones left out."""
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file())
    return [path for path in files if not path.name.startswith(".")]


def name_photos(paths: Sequence[Path], given: Sequence[Path]) -> dict[Path, Path]:
    """Where to put what is made of each photo: relative paths, no two photos with the same.

    A photo's own name, ending included. Photos that share it have their path below the given folder; where that is the
    same too, the folder's name before it; and in the last resort their whole path.

    Args:
        paths: as of `find_photos`.
        given: the files and folders that they were found from.
    """
    choices = {path: _list_names(path, given) for path in paths}
    level = dict.fromkeys(choices, 0)
    while True:
        names = {path: names[level[path]] for path, names in choices.items()}
        owners: dict[Path, list[Path]] = {}
        for path, name in names.items():
            owners.setdefault(name, []).append(path)
        # One file, given in two ways, has nothing to be told apart from.
        shared = [path for group in owners.values() if len({choices[each][-1] for each in group}) > 1 for path in group]
        longer = [path for path in shared if level[path] < len(choices[path]) - 1]
        if not longer:
            return names
        for path in longer:
            level[path] += 1


def _list_names(path: Path, given: Sequence[Path]) -> list[Path]:
    """Names for a photo, from short to whole, for `name_photos`."""
    folder = next((each for each in given if each != path and path.is_relative_to(each)), path.parent)
    below, whole = path.relative_to(folder), path.absolute()
    return [Path(path.name), below, Path(folder.absolute().name, below), whole.relative_to(whole.anchor)]


def take_batches(items: Iterable[T]) -> Iterator[list[T]]:
    """32 at a time; the last may be fewer."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH_SIZE)):
        yield batch


def read_photos(paths: Sequence[Path]) -> Iterator[Photo]:
    """Reads photos in a few threads, in order, never more than a batch ahead."""
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata
        for batch in take_batches(paths):
            yield from pool.map(read_photo, batch)


def read_photo(path: Path) -> Photo:
    """Reads a photo as intake does for training: checked in full, upright, RGB, first frame, whatever its format."""
    from cvd.data.decode import decode_image
    from cvd.data.formats import RefusedError
    from cvd.data.intake import inspect_image

    try:
        return Photo(path, decode_image(inspect_image(path.read_bytes()).data))
    except RefusedError as refusal:
        return Photo(path, None, str(refusal))
    except OSError as error:
        return Photo(path, None, f"cannot be read: {error.strerror}")
    except InputError as error:
        return Photo(path, None, str(error))


def report_faults(photos: Sequence[Photo]) -> int:
    """Says on stderr what is wrong with photos; returns how many are."""
    bad = [photo for photo in photos if photo.pixels is None]
    for photo in bad:
        print(f"skipped {photo.path}: {photo.fault}", file=sys.stderr)
    return len(bad)
