"""How two revisions differ, by the entries of their dvc.lock: parameters, data, code."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cvd.runtime.experiments import CODE, Stages, list_digests, read_params

ABSENT = "absent"  # what stands for a parameter that only one of them has
PARAMS = "params.yaml"
_TRAIN = "train@"


@dataclass(frozen=True)
class Differences:
    """What differs; `params` are (before, after) by dotted name, `data` and `code` the inputs with another content."""

    params: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Describe all of it in short phrases, one for each parameter, one for data, one for code."""
        phrases = [f"{name} {show_value(old)} → {show_value(new)}" for name, (old, new) in self.params.items()]
        lists = {"data": self.data, "code": self.code}
        return phrases + [f"{kind}: {', '.join(paths)}" for kind, paths in lists.items() if paths]

    def summarise(self, known: Iterable[str]) -> list[str]:
        """Summarise it as people say it: the last parts of names as far as the `known` ones are told apart by them."""
        names = [*known, *self.params]
        kinds = [kind for kind, paths in {"data": self.data, "code": self.code}.items() if paths]
        return [f"{_shorten(name, names)}={show_value(new)}" for name, (_, new) in self.params.items()] + kinds


def show_value(value: Any) -> str:
    """A parameter's value as YAML writes it on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(show_value, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _shorten(name: str, names: Iterable[str]) -> str:
    """Shorten a dotted name to its fewest last parts that no other name ends in."""
    others = {other for other in names if other != name}
    parts = name.split(".")
    for start in range(len(parts) - 1, 0, -1):
        short = ".".join(parts[start:])
        if not any(other == short or other.endswith(f".{short}") for other in others):
            return short
    return name


def find_differences(before: Stages, after: Stages, targets: Iterable[str]) -> Differences:
    """Find what differs in `targets`, and in the stages that made what they read otherwise.

    `data` are inputs that no parameter, no code and no other input explains, such as an archive of the same name.
    """
    chain = trace_changes(before, after, targets)
    params: dict[str, tuple[Any, Any]] = {}
    moved = {name for name in chain if name not in before}  # stages that do something else
    inputs, code = set(), set()
    for name in (name for name in chain if name in before):
        old, new = (flatten_params(read_params(stages[name], _variant(name))) for stages in (before, after))
        changes = compare_values(old, new)
        old_deps, new_deps = (list_digests(stages[name], "deps") for stages in (before, after))
        paths = compare_values(old_deps, new_deps).keys()
        is_rewritten = _is_rewritten(before[name].get("cmd", ""), after[name].get("cmd", ""), changes.values())
        params |= changes
        code |= {path for path in paths if path.startswith(CODE)} | ({"dvc.yaml"} if is_rewritten else set())
        named = {show_value(value) for pair in changes.values() for value in pair}  # by a parameter, as data.path does
        inputs |= {path for path in paths if not path.startswith(CODE) and path not in (PARAMS, *named)}
        moved |= {name} if changes or paths or is_rewritten else set()
    makers = {path: find_makers(after, path) for path in inputs}
    data = [path for path in sorted(inputs) if not any(name in moved or _TRAIN in name for name in makers[path])]
    return Differences(params, data, sorted(code))


def _is_rewritten(old: str, new: str, changes: Iterable[tuple[Any, Any]]) -> bool:
    """True where commands differ in more than words that are a parameter's values, before and after."""
    words, others = shlex.split(old), shlex.split(new)
    pairs = {(show_value(before), show_value(after)) for before, after in changes}
    same = (word == other or (word, other) in pairs for word, other in zip(words, others, strict=False))
    return len(words) != len(others) or not all(same)


def find_makers(stages: Stages, path: str) -> list[str]:
    """Find the stages that write an input, or something in it, where it is a folder."""
    outs = {name: list_digests(stage, "outs") for name, stage in stages.items()}
    return [name for name, paths in outs.items() if any(f"{out}/".startswith(f"{path}/") for out in paths)]


def trace_changes(before: Stages, after: Stages, targets: Iterable[str]) -> list[str]:
    """Trace the stages that can explain a difference: `targets`, and what made their inputs where these differ."""
    traced: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in traced or name not in after:
            return
        traced[name] = None
        old, new = (list_digests(stages.get(name, {}), "deps") for stages in (before, after))
        for path in compare_values(old, new):
            for maker in find_makers(after, path):
                visit(maker)

    for target in targets:
        visit(target)
    return list(traced)


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested sections to values by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        flat |= flatten_params(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def gather_params(stages: Stages) -> dict[str, Any]:
    """Gather all parameters that stages read, by dotted name."""
    params: dict[str, Any] = {}
    for name, stage in stages.items():
        params |= flatten_params(read_params(stage, _variant(name)))
    return params


def compare_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare values by name: (before, after) of those that differ."""
    pairs = {name: (before.get(name, ABSENT), after.get(name, ABSENT)) for name in {**before, **after}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _variant(stage: str) -> str:
    return stage.partition("@")[2]
