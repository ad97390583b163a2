"""How each source is brought into one zip: drawn, packed from a folder, copied, repacked, or downloaded."""

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from cvd.data.sources import kaggle, packing
from cvd.data.sources.fetch import Wanted, fetch_file
from cvd.data.sources.replies import strip_secrets
from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file
from cvd.runtime.vocabulary import CATS_AND_DOGS, Classes

MICROSOFT = Wanted(
    url="https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    name="data.source microsoft",
    sha256="b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
    n_bytes=824_887_076,
)
# Google has published no hash.
FILTERED = Wanted(
    url="https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
    name="data.source filtered",
    n_bytes=68_606_236,
)


@dataclass(frozen=True)
class Request:
    """What is asked of a source."""

    path: str  # of a folder or an archive, as the user gave it
    n_per_class: int  # of drawn images
    seed: int  # of drawn images
    leak: float = 0.0  # share of the drawn images that are there again as near-copies
    classes: Classes | Literal["auto"] = CATS_AND_DOGS  # auto: those of the source's two folders
    url: str | None = None  # instead of a source's usual address
    sha256: str | None = None  # that the download must have; None: the source's own, if any
    state_folder: Path = Path(".cvd/downloads")  # for downloads, partial and finished ones


@dataclass(frozen=True)
class Origin:
    """What a source gave: a zip, not in place yet; its name in messages; what raw.json says."""

    zip_path: Path
    name: str
    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    n_bytes: int | None = None


# request, where a zip may be made, what is to be closed once the zip is in place -> origin
Fetch = Callable[[Request, Path, ExitStack], Origin]


@contextmanager
def call_it(name: str, path: str | Path) -> Iterator[None]:
    """Name a file in messages as the user knows it, not by its temporary path."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error


def fetch_drawn(request: Request, target: Path, stack: ExitStack) -> Origin:
    """Draw the images."""
    from cvd.data.drawn import write_drawn_archive  # OpenCV's drawing code, which the other sources do without

    def show(images: Any) -> Any:
        return tqdm(images, total=2 * request.n_per_class, desc="draw", unit="image", disable=None)

    n_per_class, seed, leak = request.n_per_class, request.seed, request.leak
    write_drawn_archive(target, n_per_class=n_per_class, seed=seed, leak=leak, progress=show)
    return Origin(target, "the drawn archive")


def fetch_directory(request: Request, target: Path, stack: ExitStack) -> Origin:
    """Pack a folder."""
    folder = _find(request.path, target)
    if not folder.is_dir():
        raise InputError(f"data.path {request.path} is a file, not a folder: use data.source=archive for a zip or tar")
    with tqdm(desc="pack", unit="file", disable=None) as bar:
        packing.pack_folder(folder, target, progress=bar.update)
    return Origin(target, f"data.path {request.path}", path=request.path)


def fetch_archive(request: Request, target: Path, stack: ExitStack) -> Origin:
    """Copy a zip, repack a tar."""
    path, name = _find(request.path, target), f"data.path {request.path}"
    if path.is_dir():
        raise InputError(f"{name} is a folder, not a zip or tar: use data.source=directory")
    if _is_zip(path, name):
        # A copy, not a hard link: DVC may write-protect its outputs, and this file is the user's.
        shutil.copyfile(path, target)
    else:
        _repack(path, target, name)
    return Origin(target, name, path=request.path, sha256=hash_file(path), n_bytes=path.stat().st_size)


def fetch_known(usual: Wanted) -> Fetch:
    """Make a fetch of a published file, or of a copy of it from another address."""

    def fetch(request: Request, target: Path, stack: ExitStack) -> Origin:
        return _fetch_wanted(_redirect(usual, request), request, target, stack)

    return fetch


def fetch_url(request: Request, target: Path, stack: ExitStack) -> Origin:
    """Fetch any archive whose hash is given."""
    return _fetch_wanted(_redirect(Wanted("", "data.url"), request), request, target, stack)


def fetch_kaggle(request: Request, target: Path, stack: ExitStack) -> Origin:
    """Fetch the competition's archive with the user's credentials; a copy elsewhere, `data.url`, without."""
    wanted = replace(_redirect(Wanted(kaggle.PAGE, "data.source kaggle"), request), explain=kaggle.explain_refusal)
    if not request.url:
        wanted = replace(wanted, locate=partial(kaggle.locate_archive, wanted.name))
    return _fetch_wanted(wanted, request, target, stack)


def _redirect(usual: Wanted, request: Request) -> Wanted:
    """Apply data.url and data.sha256 to what is usually wanted."""
    if request.sha256:
        usual = replace(usual, sha256=request.sha256.lower(), n_bytes=None)  # another file has another size
    if request.url:
        # Without a known hash, a copy may have been repacked to another size.
        n_bytes = usual.n_bytes if usual.sha256 else None
        usual = replace(usual, url=request.url, name=f"data.url {strip_secrets(request.url)}", n_bytes=n_bytes)
    return usual


def _fetch_wanted(wanted: Wanted, request: Request, target: Path, stack: ExitStack) -> Origin:
    file = stack.enter_context(fetch_file(wanted, state_folder=request.state_folder))
    zip_path = file.path
    if not _is_zip(file.path, wanted.name):
        _repack(file.path, target, wanted.name)
        zip_path = target
    return Origin(zip_path, wanted.name, url=strip_secrets(wanted.url), sha256=file.sha256, n_bytes=file.n_bytes)


def _find(given: str, target: Path) -> Path:
    path = Path(given).expanduser()
    if not path.exists():
        raise InputError(f"data.path {given} does not exist: give a folder, zip or tar with the photos")
    if path.resolve() in (target.with_name("raw.zip").resolve(), target.resolve()):
        raise InputError(f"data.path {given} is this stage's own output: keep the photos somewhere else")
    return path


def _is_zip(path: Path, name: str) -> bool:
    """Tell a zip from a tar by content; InputError where it is neither, or unreadable."""
    try:
        with path.open("rb") as file:
            starts_as_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        # In this order: a tar whose last file is a zip ends as a zip does.
        if not starts_as_zip and tarfile.is_tarfile(path):
            return False
        if zipfile.is_zipfile(path):
            return True
    except (OSError, EOFError) as error:
        raise InputError(f"{name} cannot be read: {error}") from error
    damaged = "a damaged zip: its end is missing" if starts_as_zip else "neither a zip nor a tar"
    raise InputError(f"{name} is {damaged}: give a whole .zip, .tar, .tar.gz, .bz2 or .xz")


def _repack(path: Path, target: Path, name: str) -> None:
    with call_it(name, path), tqdm(desc="repack", unit="file", disable=None) as bar:
        packing.repack_tar(path, target, progress=bar.update)
