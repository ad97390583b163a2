"""`cvd run`: the whole graph as one of DVC's experiments, with a file's values, on photos of your own."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from cvd.runtime.errors import InputError
from cvd.runtime.experiments import list_experiments, load_yaml
from cvd.runtime.params.loading import parse_params, parse_yaml, read_text
from cvd.runtime.params.references import check_counts, check_graph, check_paths, read_graph
from cvd.runtime.project import ask_git, find_root
from cvd.runtime.revisions.differences import PARAMS, compare_values, flatten_params, show_value
from cvd.runtime.revisions.reproduction import list_settings

PIPELINE = "dvc.yaml"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd run`."""
    parser.add_argument("settings", type=Path, help="a YAML file of values that replace those of params.yaml")
    parser.add_argument("data", nargs="?", metavar="DATA", help="a zip, a tar or a folder of photos of two classes")
    parser.add_argument("-n", "--name", help="the experiment's (default: the file's, numbered where it is taken)")
    parser.add_argument("-S", action="append", default=[], dest="more", metavar="KEY=VALUE", help="as dvc's, on top")
    parser.add_argument("--queue", action="store_true", help="for `dvc queue start`")


def run_settings(args: argparse.Namespace) -> int:
    """Check everything that can be wrong, then become `dvc exp run` with the values that differ from params.yaml's.

    Raises:
        InputError: the settings do not fit, the photos are not there, or git is not ready for an experiment.
    """
    root = find_root()
    if "PATH" in os.environ:  # stages run `python`: this one
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    _check_git(root)
    changes = find_changes(args.settings, args.data, root)
    options = ["--name", choose_name(args.name or args.settings.stem, root, is_fixed=bool(args.name))]
    options += ["--queue"] if args.queue else []
    options += chain.from_iterable(("-S", setting) for setting in [*changes, *args.more])
    print(f"dvc exp run {shlex.join(options)}", flush=True)
    os.chdir(root)
    os.execv(sys.executable, [sys.executable, "-m", "dvc", "exp", "run", *options])


def find_changes(path: Path, data: str | None, root: Path) -> list[str]:
    """Find what a file of settings, and the place of the photos, change in params.yaml, as `-S` takes it.

    Raises:
        InputError: a key or value is not accepted, or the photos are not there.
    """
    settings, before = parse_yaml(read_text(path), path), parse_yaml(read_text(root / PARAMS))
    if not isinstance(settings, dict):
        raise InputError(f"{path} holds no settings: write keys as in params.yaml, such as `split: {{train: 1000}}`")
    parse_params(before)
    if data is not None:
        settings = _merge(settings, {"data": find_source(data)})
    after = _merge(before, settings)
    try:
        params = parse_params(after)
        check_graph(params, read_graph(root / PIPELINE)[0])
        check_paths(params, root)
        check_counts(params)
    except InputError as error:
        raise InputError(f"{path} does not fit: {str(error).removeprefix('params: ')}") from error
    _note_others(before, settings, root)
    return list_settings(compare_values(flatten_params(before), flatten_params(after)))


def _note_others(values: Mapping[str, Any], settings: Mapping[str, Any], root: Path) -> None:
    """Say on stderr what else in params.yaml is not as it was committed: it goes into the experiment too."""
    committed, given = load_yaml(ask_git("show", f"HEAD:./{PARAMS}", root=root)), flatten_params(settings)
    changes = compare_values(flatten_params(committed), flatten_params(values))
    others = [f"{name}={show_value(value)}" for name, (_, value) in changes.items() if name not in given]
    if others:
        note = f"note: {PARAMS} has other values than your commit, which stay: {', '.join(others)}"
        print(f"{note}; `git checkout HEAD {PARAMS}` drops them", file=sys.stderr)


def find_source(data: str) -> dict[str, str]:
    """Find the values of params.yaml's `data` for a file or folder of photos.

    Raises:
        InputError: it is not there.
    """
    advice = "give the path of a zip, a tar or a folder, as in `make photos DATA=/path/to/photos.zip`"
    if not data:
        raise InputError(f"DATA is missing: {advice}")
    path = Path(data).expanduser()
    if not path.exists():
        raise InputError(f"DATA is {data!r}, which is not there: {advice}")
    return {"source": "directory" if path.is_dir() else "archive", "path": str(path.resolve())}


def _merge(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Replace values by others; sections are merged key by key."""
    merged = dict(values)
    for key, other in others.items():
        value = merged.get(key)
        merged[key] = _merge(value, other) if isinstance(value, dict) and isinstance(other, dict) else other
    return merged


def _check_git(root: Path) -> None:
    """Check that git has what DVC's experiments ask for.

    Raises:
        InputError: there is no commit, or nobody to commit as.
    """
    if not ask_git("rev-parse", "--verify", "--quiet", "HEAD", root=root):
        raise InputError("git has no commit here, and experiments start from one: `git add -A && git commit -m Start`")
    for key, example in (("name", "'Your Name'"), ("email", "you@example.org")):
        if not (ask_git("config", f"user.{key}", root=root) or os.environ.get(f"GIT_COMMITTER_{key.upper()}")):
            raise InputError(f"git has no user.{key}, and experiments are commits: `git config user.{key} {example}`")


def choose_name(name: str, root: Path, *, is_fixed: bool) -> str:
    """Choose the experiment's name: the first of NAME, NAME-2, NAME-3... that none has.

    Raises:
        InputError: it is fixed, and taken.
    """
    taken = {experiment.name for experiment in list_experiments(root)}
    if is_fixed and name in taken:
        raise InputError(f"experiment {name!r} is there already: choose another --name, or `dvc exp remove {name}`")
    return next(free for free in chain([name], (f"{name}-{n}" for n in count(2))) if free not in taken)
