"""The results that DVC's experiments left in git, each with what it was made from. No DVC is loaded."""

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cvd.runtime.errors import InputError

LOCK = "dvc.lock"
_EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(?P<name>.+)")
_CODE = ("cvd/", "stages/")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a lock takes a second without libyaml


@dataclass(frozen=True)
class Outcome:
    """One variant's metrics in one experiment, and what dvc.lock says that they were made from.

    Attributes:
        experiment: its name; `workspace` for the files as they lie here, `HEAD` for what is committed.
        variant: its name.
        seed: of the training.
        settings: every other parameter of the training, as `name: value`.
        data: {path: digest} of what the training read, code apart.
        code: digest of the code that the training ran.
        metrics: metrics/VARIANT.json.
    """

    experiment: str
    variant: str
    seed: int
    settings: Mapping[str, Any]
    data: Mapping[str, str]
    code: str
    metrics: Mapping[str, Any]


def read_outcomes(root: Path) -> list[Outcome]:
    """Of the workspace, of the commit that it is on, then of the experiments in git, newest first.

    What an experiment did not bring up to date (`dvc exp run -S seed=2 evaluate@baseline` leaves the other variants at
    the old seed) is told apart by dvc.lock: only metrics are taken whose digests match what training and evaluation
    recorded there, with the parameters recorded there, whatever params.yaml says.
    """
    found = _read_files({"workspace": lambda names: {name: _read(root / name) for name in names}})
    names = _list_experiments(root)
    return found + _read_files({name: _Revision(root, revision) for name, revision in names.items()})


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _list_experiments(root: Path) -> dict[str, str]:
    """{name: commit}: HEAD, then the experiments, newest first; none where there is no repository with a commit."""
    try:
        head = _run_git(root, "rev-parse", "--verify", "-q", "HEAD").decode().strip()
        text = _run_git(root, "for-each-ref", "--sort=-creatordate", "--format=%(refname) %(objectname)", "refs/exps")
    except InputError:
        return {}
    rows = [line.split() for line in text.decode().splitlines()]
    return {"HEAD": head} | {found["name"]: commit for name, commit in rows if (found := _EXPERIMENT.fullmatch(name))}


def _run_git(root: Path, *arguments: str, given: bytes = b"") -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=root, input=given, capture_output=True, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"git {arguments[0]} failed in {root}: experiments live in a git repository") from error


@dataclass(frozen=True)
class _Revision:
    """Reads files of a commit: names -> {name: content or None}."""

    root: Path
    revision: str

    def __call__(self, names: Iterable[str]) -> dict[str, bytes | None]:
        names = list(names)
        given = "".join(f"{self.revision}:{name}\n" for name in names).encode()
        answer = _run_git(self.root, "cat-file", "--batch", given=given)
        found: dict[str, bytes | None] = {}
        for name in names:
            head, _, answer = answer.partition(b"\n")
            found[name] = None
            if not head.endswith(b" missing"):
                size = int(head.split()[-1])
                found[name], answer = answer[:size], answer[size + 1 :]
        return found


def _read_files(sources: Mapping[str, Any]) -> list[Outcome]:
    outcomes = []
    for experiment, read in sources.items():
        text = read([LOCK])[LOCK]
        stages = (yaml.load(text, _Loader) or {}).get("stages") or {} if text else {}
        variants = {name.partition("@")[2]: entry for name, entry in stages.items() if name.startswith("evaluate@")}
        paths = {variant: f"metrics/{variant}.json" for variant in variants}
        contents = read(paths.values())
        for variant, path in paths.items():
            outcome = _join(experiment, variant, stages, contents[path])
            if outcome:
                outcomes.append(outcome)
    return outcomes


def _join(experiment: str, variant: str, stages: Mapping[str, Any], content: bytes | None) -> Outcome | None:
    """None where the metrics are absent or not of the training that the lock describes."""
    training, evaluation = stages.get(f"train@{variant}"), stages[f"evaluate@{variant}"]
    if content is None or training is None:
        return None
    model = f"models/{variant}.keras"
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if _digests(evaluation, "outs").get(f"metrics/{variant}.json") != digest:
        return None
    if _digests(evaluation, "deps").get(model) != _digests(training, "outs").get(model, ""):
        return None
    settings = dict(training["params"]["params.yaml"])
    read = _digests(training, "deps")
    data = {path: digest for path, digest in read.items() if not path.startswith(_CODE)}
    code = {path: digest for path, digest in read.items() if path.startswith(_CODE)}
    return Outcome(
        experiment,
        variant,
        settings.pop("seed"),
        settings,
        data,
        hashlib.md5(json.dumps(code, sort_keys=True).encode(), usedforsecurity=False).hexdigest(),
        json.loads(content),
    )


def _digests(entry: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {each["path"]: each.get("md5", "") for each in entry.get(kind, ())}
