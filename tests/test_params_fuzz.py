"""params.yaml, mutated: whatever stands in the file, it is taken, or refused in one readable line."""

from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import load_params, parse_params, parse_yaml

TEXT = (Path(__file__).parent.parent / "params.yaml").read_text()
LONGEST = 900  # characters of a message: some list all keys of a section
# What was found by mutation, and ended in a traceback or a page of text.
CORPUS = (
    *("seed: !!int x", "seed: 2020-99-99", "seed: !!float a", "seed: !!timestamp x", "seed: 190:99:99:1e9"),
    *("variants: {1.5: {}}", "variants: {2020-01-01: {}}", "variants: {null: 3}", "? [a, b]\n: 1", "1: 2", "- 1", "x"),
    *(
        "[" * 2000,
        "{" * 2000 + "}",
        "&a [*a]",
        "variants: &a {b: *a}",
        "variants: {a: &a {like: *a}}",
        "\0",
        "!!python/none",
    ),
    *(f"seed: 0x{'f' * 5000}", f"seed: {'9' * 5000}", f"seed: {'x' * 10**5}", f"{'x' * 10**4}: 1"),
    "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c]\nseed: [*d,*d,*d,*d]",
    f"variants: {{a: {{like: {'x' * 2000}}}}}",
    f"variants: {{{'x' * 2000}: {{like: b}}}}",
    'seed: "\\e[31m\\n\\n\\ud800"',
    "seed: .nan",
    "!!set {a, b}",
    "!!python/none",
    "!!binary x",
)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=9)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3))


def refuse(text: str | bytes, path: Path) -> None:
    path.write_bytes(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    try:
        load_params(path)
    except InputError as error:
        check_line(str(error))


def check_line(line: str) -> None:
    assert line.isprintable()
    assert len(line) <= LONGEST, len(line)


def list_places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, child in children for deeper in list_places(child, (*place, key)))]


PLACES = list_places(yaml.safe_load(TEXT))[1:]


@pytest.mark.parametrize("text", CORPUS, ids=[text[:20] for text in CORPUS])
def test_what_was_found_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    refuse(text, path)
    refuse(f"{TEXT}\n{text}\n", path)
    if text.startswith("seed: "):
        refuse(TEXT.replace("seed: 1", text, 1), path)
    with pytest.raises(InputError):
        parse_params(parse_yaml(text))


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"seed: 1 # caf\xe9\n")
    with pytest.raises(InputError, match=r"params.yaml is not UTF-8 \(byte 13 is 0xe9\): save it as UTF-8 text"):
        load_params(tmp_path / "params.yaml")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(PLACES), values | st.just("delete") | st.just("rename"))
@example(("variants", "baseline", "network"), "nothing")
@example(("variants", "baseline"), {"like": "baseline"})
def test_any_value_anywhere_is_taken_or_one_line(place: tuple[Any, ...], value: Any) -> None:
    raw = yaml.safe_load(TEXT)
    section = reduce(lambda node, key: node[key], place[:-1], raw)
    if value in ("delete", "rename"):
        old = section.pop(place[-1])
        if value == "rename" and isinstance(section, dict):
            section[f"{place[-1]}\x1b[2J"] = old
    else:
        section[place[-1]] = value
    try:
        parse_params(raw)
    except InputError as error:
        check_line(str(error))


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.binary(max_size=6) | st.sampled_from(CORPUS))
def test_any_damage_of_the_text_is_taken_or_one_line(tmp_path: Path, at: int, n: int, new: bytes | str) -> None:
    data = TEXT.encode()
    middle = new if isinstance(new, bytes) else new[:3000].encode(errors="surrogatepass")
    refuse(data[:at] + middle + data[at + n :], tmp_path / "params.yaml")
