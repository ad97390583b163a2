"""The experiment that runs here: its name, what it changes of its commit, and the commands that make it again."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvd.runtime.experiments import WORKSPACE, Experiment, load_yaml, name_experiment, read_files
from cvd.runtime.project import OUTPUTS, ask_git
from cvd.runtime.revisions.contents import name_baseline, open_experiments, shorten_commit
from cvd.runtime.revisions.differences import (
    ABSENT,
    PARAMS,
    Differences,
    compare_values,
    find_differences,
    flatten_params,
)

# What Hydra's grammar takes without quotes, unless it reads as another type.
_PLAIN = re.compile(r"[A-Za-z_/][\w./+-]*")
_TYPED = re.compile(r"(?i)null|true|false|nan|inf|infinity")


@dataclass(frozen=True)
class Origin:
    """Where the working folder's results come from; `baseline` is a commit, "" without one."""

    name: str
    baseline: str
    differences: Differences
    commands: list[tuple[str, str]]  # and what each does, "" where it goes on with the one before


def describe_run() -> Origin:
    """Describe this run: DVC's experiment or the workspace, against the commit that it started from."""
    name = name_experiment()
    commit = ask_git("rev-parse", name_baseline())
    if not commit:
        return Origin(name, "", Differences(), [("dvc repro", "everything again; nothing is committed yet")])
    before, after = open_experiments([Experiment(commit, commit), Experiment(name, "")], Path())
    texts = read_files(Path(), [(ref, PARAMS) for ref in (commit, "")])
    old, new = (flatten_params(load_yaml(texts.get((ref, PARAMS)))) for ref in (commit, ""))
    causes = find_differences(before.stages, after.stages, after.stages)
    changes = compare_values(old, new)
    differences = Differences(changes, causes.data, causes.code)
    commands = list(_list_commands(name, commit, changes, has_changed_code=_has_changed_code(commit)))
    return Origin(name, shorten_commit(commit), differences, commands)


def _has_changed_code(commit: str) -> bool:
    excluded = (f":(exclude){name}" for name in (*OUTPUTS, PARAMS))
    return bool(ask_git("diff", "--name-only", commit, "--", ".", *excluded))


def _list_commands(
    name: str, commit: str, changes: Mapping[str, tuple[Any, Any]], *, has_changed_code: bool
) -> Iterator[tuple[str, str]]:
    if name != WORKSPACE:
        yield f"dvc exp apply {name}", "its parameters, code and results, in the repository where it ran"
    if has_changed_code:
        if name == WORKSPACE:
            yield "dvc repro", "in this folder, whose code differs from the commit's"
        return
    either = "" if name == WORKSPACE else "or: "
    again = "its values, from the commit that it started from" if changes else "everything again, from its commit"
    yield f"git checkout {shorten_commit(commit)}", either + again
    settings = " ".join(f"-S {shlex.quote(setting)}" for setting in list_settings(changes))
    yield f"dvc exp run {settings}" if settings else "dvc repro", ""


def list_settings(changes: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """List changed parameters as `dvc exp run -S` takes them, not quoted for a shell."""
    settings = []
    for name, (old, new) in changes.items():
        sign = "+" if old == ABSENT else ""
        settings.append(f"~{name}" if new == ABSENT else f"{sign}{name}={write_value(new)}")
    return settings


def write_value(value: Any) -> str:
    """Write a value in Hydra's grammar."""
    if isinstance(value, list):
        return f"[{','.join(map(write_value, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(value) and not _TYPED.fullmatch(value):
        return value
    # Between quotes, Hydra takes a backslash as an escape only before a quote, and ${NAME} as a reference.
    quoted = re.sub(r"(\\*)('|\Z)", lambda end: end[1] * 2 + end[2].replace("'", "\\'"), value)
    return "'" + quoted.replace("${", "\\${") + "'"
