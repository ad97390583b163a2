"""DVC's experiments and their dvc.lock, read from git: models, metrics, and what these were made from."""

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cvd.runtime.files import YamlLoader, hash_file
from cvd.runtime.project import ask_git

HEAD = "HEAD"
WORKSPACE = "workspace"  # the experiment of what runs outside of `dvc exp run`
LOCK = "dvc.lock"
MODELS = "models"  # the folder
CODE = ("cvd/", "stages/")  # dependencies that are code, not data
_REF = re.compile(r"refs/exps/(?P<two>[0-9a-f]{2})/(?P<rest>[0-9a-f]{38})/(?P<name>.+)")
_BLOCK = "variants."

Stages = dict[str, dict[str, Any]]  # the entries of a dvc.lock, by the stage's name


@dataclass(frozen=True)
class Experiment:
    """An experiment. `ref` is what git calls it: "" for the files of the working folder."""

    name: str
    ref: str

    def describe_code(self) -> dict[str, str]:
        """Tags that name the commit of its code; {} for the working folder."""
        commit = ask_git("rev-parse", self.ref) if self.ref else ""
        if not commit:
            return {}
        tags = {"git.commit": commit, "mlflow.source.git.commit": commit, "git.dirty": "false"}
        return tags | {"dvc.baseline_rev": self.baseline or commit}

    @property
    def baseline(self) -> str:
        """The commit that DVC started the experiment from; "" for what is no experiment of DVC's."""
        parts = _REF.fullmatch(self.ref)
        return parts["two"] + parts["rest"] if parts else ""


@dataclass(frozen=True)
class LockedModel:
    """A trained model as a dvc.lock names it; `params` are those of its training, by dotted name."""

    md5: str
    params: dict[str, Any] = field(default_factory=dict)
    is_current: bool = True  # trained on the data that the same dvc.lock names


@dataclass(frozen=True)
class Outcome:
    """One variant's metrics in one experiment, and what dvc.lock says that they were made from."""

    experiment: str  # `workspace` for the files of the working folder, `HEAD` for what is committed
    variant: str
    seed: int  # of the training
    settings: Mapping[str, Any]  # every other parameter of the training, as `name: value`
    data: Mapping[str, str]  # {path: digest} of what the training read, code apart
    code: str  # digest of the code that the training ran
    metrics: Mapping[str, Any]  # metrics/VARIANT.json


def name_experiment() -> str:
    """DVC's name of the experiment that runs this process; `workspace` outside of `dvc exp run`."""
    return os.environ.get("DVC_EXP_NAME") or WORKSPACE


def list_experiments(root: Path | None = None) -> list[Experiment]:
    """DVC's experiments in the repository of `root` or the working folder, newest first."""
    refs = ask_git("for-each-ref", "--sort=-creatordate", "--format=%(refname)", "refs/exps", root=root).splitlines()
    return [Experiment(parts["name"], ref) for ref in refs if (parts := _REF.fullmatch(ref))]


def find_experiment(variant: str, md5: str) -> Experiment:
    """The experiment that made a model: by dvc.lock HEAD (the workspace), this process' own, or the newest."""
    others = [] if os.environ.get("DVC_EXP_NAME") else list_experiments()
    for experiment in (Experiment(WORKSPACE, HEAD), *others):
        if (model := read_lock(experiment.ref).get(variant)) and model.md5 == md5:
            return experiment
    return Experiment(name_experiment(), "")


def name_applied(root: Path | None = None) -> str:
    """The experiment whose results `root` or the working folder holds: its dvc.lock is the same; else the workspace."""
    lock = ask_git("hash-object", LOCK, root=root)
    if not lock or lock == ask_git("rev-parse", f"{HEAD}:./{LOCK}", root=root):
        return WORKSPACE
    others = list_experiments(root)
    alike = (other.name for other in others if ask_git("rev-parse", f"{other.ref}:./{LOCK}", root=root) == lock)
    return next(alike, WORKSPACE)


def read_lock(ref: str = "", root: Path | None = None) -> dict[str, LockedModel]:
    """The models that a dvc.lock names, by variant: that of `root` or the working folder, or of a commit."""
    models, stages = {}, _read_stages(ref, root).values()
    digests = {path: md5 for stage in stages for path, md5 in list_digests(stage, "outs").items()}
    for stage in stages:
        is_current = all(digests.get(path, md5) == md5 for path, md5 in list_digests(stage, "deps").items())
        for path, md5 in list_digests(stage, "outs").items():
            variant = Path(path).stem
            if Path(path).suffix == ".keras" and md5:
                models[variant] = LockedModel(md5, read_params(stage, variant), is_current)
    return models


def list_stale(variants: Iterable[str], root: Path | None = None) -> dict[str, list[Path]]:
    """List, for each variant, outputs in `root` or the working folder that were made of another model than is there.

    Those of a stage that depends on the whole folder of models count as soon as any file there is another.
    """
    stages = _read_stages("", root).values()
    digests = {path: md5 for stage in stages for path, md5 in list_digests(stage, "outs").items()}
    digests[MODELS] = _hash_folder((root or Path()) / MODELS)
    stale: dict[str, list[Path]] = {variant: [] for variant in variants}
    for stage in stages:
        deps = list_digests(stage, "deps")
        changed = [path for path in deps if digests.get(path, deps[path]) != deps[path]]
        for variant, paths in stale.items():
            if any(path == MODELS or Path(path).name.split(".")[0] == variant for path in changed):
                paths += [Path(path) for path in list_digests(stage, "outs")]
    return stale


def _hash_folder(folder: Path) -> str:
    """A folder's digest as DVC computes it, without the hidden files that .dvcignore names."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("[!.]*") if path.is_file()}
    entries = [{"md5": hash_file(files[name], "md5"), "relpath": name} for name in sorted(files)]
    return f"{digest_text(json.dumps(entries).encode())}.dir"


def read_outcomes(root: Path) -> list[Outcome]:
    """Read the outcomes of the workspace, of its commit, then of the experiments in git, newest first.

    An experiment may update some variants only: `dvc exp run -S seed=2 evaluate@baseline` leaves the others' files as
    they were. So metrics count only where their digest and their model's match dvc.lock, with the parameters there.
    """
    experiments = [Experiment(WORKSPACE, ""), Experiment(HEAD, HEAD), *list_experiments(root)]
    texts = read_files(root, [(experiment.ref, LOCK) for experiment in experiments])
    locks = {experiment: parse_lock(texts.get((experiment.ref, LOCK))) for experiment in experiments}
    evaluated = [
        (experiment, stage.partition("@")[2])
        for experiment, stages in locks.items()
        for stage in stages
        if stage.startswith("evaluate@")
    ]
    contents = read_files(root, [(experiment.ref, f"metrics/{variant}.json") for experiment, variant in evaluated])
    outcomes = (
        _join(experiment.name, variant, locks[experiment], contents.get((experiment.ref, f"metrics/{variant}.json")))
        for experiment, variant in evaluated
    )
    return [outcome for outcome in outcomes if outcome]


def _join(experiment: str, variant: str, stages: Stages, content: bytes | None) -> Outcome | None:
    """Join metrics and their training; None where they are absent, or not of the training that the lock describes."""
    training, evaluation = stages.get(f"train@{variant}"), stages[f"evaluate@{variant}"]
    if content is None or training is None:
        return None
    model = f"models/{variant}.keras"
    if list_digests(evaluation, "outs").get(f"metrics/{variant}.json") != digest_text(content):
        return None
    if list_digests(evaluation, "deps").get(model) != list_digests(training, "outs").get(model, ""):
        return None
    settings, deps = read_params(training, variant), list_digests(training, "deps")
    data = {path: md5 for path, md5 in deps.items() if not path.startswith(CODE)}
    code = {path: md5 for path, md5 in deps.items() if path.startswith(CODE)}
    code_digest = digest_text(json.dumps(code, sort_keys=True).encode())
    return Outcome(experiment, variant, settings.pop("seed"), settings, data, code_digest, json.loads(content))


def digest_text(content: bytes) -> str:
    """The md5 of a file's content, as dvc.lock names it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def read_files(root: Path, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """Read files by (revision, path) in one call of git; the revision "" is the folder; missing files are left out."""
    present = [place for place in places if not place[0] and (root / place[1]).is_file()]
    contents = {place: (root / place[1]).read_bytes() for place in present}
    if committed := [place for place in places if place[0]]:
        names = "".join(f"{ref}:./{path}\n" for ref, path in committed)
        answer = io.BytesIO(ask_git("cat-file", "--batch", root=root, given=names).encode(errors="surrogateescape"))
        for place in committed:
            *_, size = answer.readline().split() or [b"missing"]  # COMMIT blob SIZE, or NAME missing
            if size != b"missing":
                contents[place] = answer.read(int(size))
                answer.readline()
    return contents


def _read_stages(ref: str, root: Path | None) -> Stages:
    return parse_lock(read_files(root or Path(), [(ref, LOCK)]).get((ref, LOCK)))


def parse_lock(content: str | bytes | None) -> Stages:
    """Parse the stages of a dvc.lock; {} where there is none, or a half-merged one."""
    with contextlib.suppress(AttributeError):
        return dict(load_yaml(content).get("stages") or {})
    return {}


def load_yaml(content: str | bytes | None) -> dict[str, Any]:
    """Load a mapping from YAML; {} where there is none, or it cannot be read."""
    with contextlib.suppress(yaml.YAMLError):
        return yaml.load(content or b"", YamlLoader) or {}
    return {}


def read_params(stage: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """Read a stage's parameters by dotted name; the only block of `variants` is the variant's, with `like` resolved."""
    params = dict(stage.get("params", {}).get("params.yaml", {}))
    blocks = {name.removeprefix(_BLOCK): params.pop(name) for name in list(params) if name.startswith(_BLOCK)}
    if variant in blocks:
        params[_BLOCK + variant] = _resolve(variant, blocks)
    return params


def _resolve(variant: str, blocks: dict[str, Any]) -> dict[str, Any]:
    """Resolve a block's `like` as far as the lock names that; params.yaml's own refusals have no place here."""
    block = blocks.pop(variant, {})
    whole = _resolve(block["like"], blocks) if "like" in block else {}
    return whole | {key: value for key, value in block.items() if key != "like"}


def list_digests(stage: Mapping[str, Any], kind: str) -> dict[str, str]:
    """List a stage's `deps` or `outs` as {path: md5}."""
    return {entry["path"]: entry.get("md5", "") for entry in stage.get(kind, ())}
