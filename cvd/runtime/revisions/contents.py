"""The outputs of a revision, by the hashes in its dvc.lock: in DVC's cache, or in the working folder."""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from cvd.runtime.errors import InputError
from cvd.runtime.experiments import (
    HEAD,
    LOCK,
    WORKSPACE,
    Experiment,
    Stages,
    list_digests,
    list_experiments,
    parse_lock,
    read_files,
)
from cvd.runtime.files import hash_file
from cvd.runtime.project import ask_git, find_root

EVALUATE = "evaluate@"  # and the variant: the stage that writes predictions/VARIANT.csv


@dataclass(frozen=True)
class Revision:
    """A commit, an experiment or the working folder, with the stages of its dvc.lock."""

    name: str  # as people call it
    ref: str  # as git does; "" for the working folder
    root: Path = field(repr=False)  # the working folder
    stages: Stages = field(repr=False, hash=False)

    @cached_property
    def digests(self) -> dict[str, str]:
        """The md5 of each output, by its path."""
        return {path: md5 for stage in self.stages.values() for path, md5 in list_digests(stage, "outs").items()}

    @cached_property
    def cache(self) -> Path:
        """The folder of DVC's cache."""
        return find_cache(self.root)

    @property
    def variants(self) -> list[str]:
        """The variants that were evaluated, in the order of the lock."""
        return [name.removeprefix(EVALUATE) for name in self.stages if name.startswith(EVALUATE)]

    def find_output(self, path: str) -> Path | None:
        """Where the output lies as this revision has it; None where neither cache nor working folder have it."""
        return _find_file(self.root, path, self.digests.get(path), self.cache)

    def list_files(self, folders: Sequence[str]) -> dict[str, Path | bytes]:
        """List the output files below some folders and the lock, by path: what the cache has, or git keeps itself."""
        paths = [path for path in self.digests if path.startswith(tuple(folders))]
        committed = [(self.ref, path) for path in (LOCK, *paths)] if self.ref else []
        files: dict[str, Path | bytes] = {path: text for (_, path), text in read_files(self.root, committed).items()}
        for path in paths:
            if (place := _find_cached(self.digests[path], self.cache)) is None:
                continue
            members = _read_listing(place) if self.digests[path].endswith(".dir") else {}
            for name in members:
                if (member := _find_cached(members[name], self.cache)) is not None:
                    files[f"{path}/{name}"] = member
            if not members:
                files[path] = place
        return files

    def find_input(self, stage: str, path: str) -> Path | None:
        """Where an input lies as a stage read it, as `find_output` says; another stage may be ahead of it."""
        return _find_file(self.root, path, list_digests(self.stages[stage], "deps").get(path), self.cache)

    def find_member(self, folder: str, name: str) -> Path | None:
        """Where a file of an output folder lies, as `find_output` says."""
        listing = _find_cached(self.digests.get(folder), self.cache)
        members = _read_listing(listing) if listing else {}
        return _find_file(self.root, f"{folder}/{name}", members.get(name), self.cache)


def open_revision(name: str, root: Path) -> Revision:
    """Open the workspace, an experiment of DVC, or what git knows by a name; the first of these counts.

    Raises:
        InputError: there is no such thing.
    """
    experiments = {experiment.name: experiment.ref for experiment in reversed(list_experiments(root))}
    ref = "" if name == WORKSPACE else experiments.get(name) or _find_commit(name, root)
    if ref is None:
        known = ", ".join([WORKSPACE, HEAD, *reversed(experiments)][:12])
        raise InputError(f"{name!r} is no revision: there are {known}, and what git knows")
    return open_experiments([Experiment(name, ref)], root)[0]


def open_experiments(experiments: Sequence[Experiment], root: Path) -> list[Revision]:
    """Open experiments, or whatever has a name and a ref; without a dvc.lock they have no stages."""
    texts = read_files(root, [(experiment.ref, LOCK) for experiment in experiments])
    return [Revision(one.name, one.ref, root, parse_lock(texts.get((one.ref, LOCK)))) for one in experiments]


def open_baseline(revision: Revision) -> Revision:
    """Open what a revision came from: an experiment's commit, the workspace's HEAD, the commit before another.

    Raises:
        InputError: there is no commit before it.
    """
    origin = name_baseline() if not revision.ref else Experiment("", revision.ref).baseline or f"{revision.name}~1"
    commit = ask_git("rev-parse", HEAD, root=revision.root)
    return open_revision(HEAD if origin in (HEAD, commit) else shorten_commit(origin), revision.root)


def name_baseline() -> str:
    """The commit that DVC started the running experiment from; HEAD outside of `dvc exp run`."""
    return os.environ.get("DVC_EXP_BASELINE_REV") or HEAD


def shorten_commit(name: str) -> str:
    """A whole commit's first ten digits; other names as they are."""
    return name[:10] if len(name) == 40 else name


def find_former(paths: Iterable[Path]) -> dict[Path, Path]:
    """Find files of the working folder as this run's baseline has them, of those that DVC's cache still holds.

    A file that is the same there stands for itself.
    """
    origin = name_baseline()
    digests = open_experiments([Experiment(origin, origin)], Path())[0].digests
    if not digests:
        return {}
    folder = find_cache(find_root())
    names = {path: path.as_posix() for path in paths}
    former = {path: _find_file(Path(), name, digests.get(name), folder, first="here") for path, name in names.items()}
    return {path: place for path, place in former.items() if place is not None}


def find_cache(root: Path) -> Path:
    """The folder in which DVC keeps files by their md5: by its configuration, else within .dvc."""
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dvc/config"
    folder = root / ".dvc/cache"
    for path in (user, root / ".dvc/config", root / ".dvc/config.local"):
        config = ConfigParser(interpolation=None, strict=False)
        with contextlib.suppress(Error, OSError, UnicodeDecodeError):
            config.read(path, encoding="utf-8")
        if given := config.get("cache", "dir", fallback="").strip("\"' "):
            folder = path.parent / Path(given).expanduser()
    return folder / "files/md5"


def _find_cached(md5: str | None, folder: Path) -> Path | None:
    """Find the file with this hash in the folder of DVC's cache."""
    path = folder / md5[:2] / md5[2:] if md5 else None
    return path if path is not None and path.is_file() else None


@cache
def _read_listing(path: Path) -> dict[str, str]:
    """Read the md5 of each file of an output folder; a file of the cache never changes."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}


def _find_file(root: Path, path: str, md5: str | None, folder: Path, *, first: str = "cache") -> Path | None:
    """Find a file by its hash, `first` in the cache's folder, whose files need not be hashed, or `here`."""
    here, cached = root / path, _find_cached(md5, folder)
    if md5 is None or (first == "cache" and cached):
        return cached
    return here if here.is_file() and hash_file(here, "md5") == md5 else cached


def _find_commit(name: str, root: Path) -> str | None:
    return ask_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", root=root) or None
