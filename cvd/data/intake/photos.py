"""The user's own photos, of any kind, read for a trained model. No TensorFlow."""

import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cvd.data.archives.formats import RefusedError
from cvd.data.archives.layouts import is_junk
from cvd.data.archives.reading import Member, UnreadableError, make_unique, open_archive
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


class Found(NamedTuple):
    """Photos that were found."""

    paths: list[Path]  # in order; in a zip `photos.zip/inner/a.jpg`
    members: dict[Path, Member]  # where to read those in zips


@contextmanager
def find_photos(given: Sequence[Path]) -> Iterator[Found]:
    """Find the files named, and the image files in the folders and zips named, at any depth, in order.

    Zips stay open in the context. Zips directly inside them are opened too; a zip further down is found as a photo, so
    that reading reports it.

    Raises:
        InputError: a path does not exist, a folder or zip cannot be listed or holds no image file.
    """
    with ExitStack() as stack:
        found = Found([], {})
        for path in given:
            try:
                is_folder = stat.S_ISDIR(path.stat().st_mode)
            except OSError as error:
                is_absent = isinstance(error, FileNotFoundError)
                reason = "does not exist" if is_absent else f"cannot be read: {error.strerror}"
                advice = "give the path of a file, a folder or a zip"
                raise InputError(f"photo {show_path(path)} {reason}: {advice}") from error
            kind, inside = "folder", [path]
            if is_folder:
                inside = list_photos(path)
            elif path.suffix.lower() == ".zip":
                members = [member for member in stack.enter_context(open_archive(path)) if _is_photo(member.name)]
                names: set[str] = set()
                inside = [Path(make_unique(str(Path(f"{path}/{member.name}")), names)) for member in members]
                found.members.update(zip(inside, members, strict=True))
                kind = "zip"
            if not inside:
                expected = f"expected files ending in {', '.join(SUFFIXES)}"
                raise InputError(f"{kind} {show_path(path)} holds no photo: {expected}")
            found.paths.extend(inside)
        yield found


def _is_photo(name: str) -> bool:
    """True for an archive's member that is an image by its ending and not hidden, and for a zip that was not opened."""
    is_hidden = any(part.startswith(".") and part.strip(".") for part in name.split("/"))
    return not is_hidden and not is_junk(name) and name.lower().endswith((*SUFFIXES, ".zip"))


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
    paths: Iterable[Path],
    *,
    members: Mapping[Path, Member] | None = None,
    prepare: "Callable[[np.ndarray], np.ndarray] | None" = None,
    n_ahead: int = 4,
) -> Iterator[Photo]:
    """Read photos on threads, in order, and hold few of them at a time, however many there are.

    `members` are those of zips. `prepare` is applied to the pixels on the thread that read them. `n_ahead` photos may
    be read before they are asked for; each large one takes up to 150 MB.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata
        yield from map_ahead(partial(read_photo, members=members, prepare=prepare), paths, n_ahead=n_ahead)


def read_photo(
    path: Path,
    members: Mapping[Path, Member] | None = None,
    prepare: "Callable[[np.ndarray], np.ndarray] | None" = None,
) -> Photo:
    """Read a photo's file, or its member of a zip; `prepare` is applied to its pixels."""
    try:
        data = _read_member(members[path]) if members and path in members else _read_file(path)
        if len(data) > MAX_BYTES:
            return Photo(path, None, f"too_large: more than {MAX_BYTES // 2**20} MB")
        pixels = decode_photo(data)
    except OSError as error:
        return Photo(path, None, f"cannot be read: {error.strerror}")
    except (RefusedError, InputError) as error:
        return Photo(path, None, str(error))
    return Photo(path, prepare(pixels) if prepare else pixels)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _read_member(member: Member) -> bytes:
    if member.unsafe:
        raise RefusedError("unsafe", member.unsafe)
    try:
        return member.read(MAX_BYTES + 1)
    except UnreadableError as error:
        raise RefusedError("unreadable", str(error)) from error


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
