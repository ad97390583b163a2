"""Lines put into a YAML file and taken out again: all other lines, comments too, stay as they are."""

from collections.abc import Collection, Sequence

import yaml

from cvd.runtime.errors import InputError
from cvd.runtime.files import YamlLoader


def insert_entry(text: str, place: Sequence[str | int], line: str) -> str:
    """Insert a line, without indentation, as the last entry of the mapping to which keys and indices lead.

    Raises:
        InputError: the mapping is absent, empty or written on one line.
    """
    mapping = _find_node(text, place)
    if not isinstance(mapping, yaml.MappingNode) or mapping.flow_style or not mapping.value:
        name = ".".join(map(str, place))
        raise InputError(f"{name} is no list of entries, a line each: write {line!r} there by hand")
    (first, _), (_, last) = mapping.value[0], mapping.value[-1]
    lines = text.splitlines(keepends=True)
    end = _find_end(last)
    lines[end] = lines[end].rstrip("\n") + "\n"
    return "".join([*lines[: end + 1], " " * first.start_mark.column + line + "\n", *lines[end + 1 :]])


def remove_entries(text: str, place: Sequence[str | int], keys: Collection[str]) -> str:
    """Remove entries of a mapping, with all of their lines, where they are there; of a repeated one the first."""
    mapping, lines = _find_node(text, place), text.splitlines(keepends=True)
    entries = mapping.value if isinstance(mapping, yaml.MappingNode) else []
    places = {name.value: (name.start_mark.line, _find_end(value)) for name, value in reversed(entries)}
    for first, last in sorted((places[key] for key in places.keys() & set(keys)), reverse=True):
        del lines[first : last + 1]
    return "".join(lines)


def replace_value(text: str, place: Sequence[str | int], value: str) -> str:
    """Replace the plain value, on one line, to which keys and indices lead.

    Raises:
        InputError: it is absent.
    """
    node, lines = _find_node(text, place), text.splitlines(keepends=True)
    if not isinstance(node, yaml.ScalarNode) or node.start_mark.line != node.end_mark.line:
        raise InputError(f"{'.'.join(map(str, place))} is not there: write {value!r} there by hand")
    line = lines[node.start_mark.line]
    lines[node.start_mark.line] = line[: node.start_mark.column] + value + line[node.end_mark.column :]
    return "".join(lines)


def list_entries(text: str, place: Sequence[str | int]) -> list[str]:
    """List the keys of a mapping; none where it is absent."""
    mapping = _find_node(text, place)
    return [name.value for name, _ in mapping.value] if isinstance(mapping, yaml.MappingNode) else []


def _find_node(text: str, place: Sequence[str | int]) -> yaml.Node | None:
    node = yaml.compose(text, YamlLoader)
    for key in place:
        if isinstance(key, int) and isinstance(node, yaml.SequenceNode) and key < len(node.value):
            node = node.value[key]
        elif isinstance(node, yaml.MappingNode):
            node = next((value for name, value in node.value if name.value == key), None)
        else:
            return None
    return node


def _find_end(node: yaml.Node) -> int:
    """The number of a node's last line, from 0. A block's own mark lies behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _find_end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.line
