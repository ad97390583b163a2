"""The one kind of error that people are meant to read, and what the system's errors mean for them."""

import errno
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class InputError(ValueError):
    """Something the user gave cannot be used: one line names the thing, its value, and what would be accepted."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORMULA = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet computes
_OBJECT = re.compile(r"<\S+ object at 0x[0-9a-fA-F]+>")


def show_text(text: str, limit: int = 200) -> str:
    """Write text of unknown origin on one line of at most `limit` characters, the same every time.

    Control characters become escapes, so that a terminal obeys none, and Python's addresses of objects are left out.
    """
    line = " ".join(_OBJECT.sub("", text).split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line[: limit + 1])
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def quote_value(value: object) -> str:
    """Write a value as Python does, on one line, and short: a list of lists may be endless."""
    short = reprlib.Repr()
    short.maxlevel, short.maxdict, short.maxlist, short.maxstring, short.maxother = 2, 3, 4, 90, 90
    try:
        return show_text(short.repr(value), 120)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"


def disarm_cell(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def describe_fault(error: InputError | OSError, place: object) -> str | None:
    """Say in one line what people can do about an error, of a file or at `place`; None where that is not known."""
    if isinstance(error, InputError):
        return str(error)
    place = error.filename or place
    if error.errno in DISK_FULL:
        return f"the disk is full at {place}: free some space and run again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place} cannot be used ({error.strerror}): check its owner, its mode and its disk, then run again"
    return None


def describe_faults(faults: "Sequence[ErrorDetails]", keys: Mapping[str, Sequence[str]]) -> str:
    """Describe the first of pydantic's faults in params.yaml in one line: name, value, what would be accepted.

    `faults` holds at least one; `keys` maps a section's class name to what the section holds.
    """
    # What is unknown is likely a misspelling, which says more than what is missing for it.
    fault = max(faults, key=lambda fault: (fault["type"] == "extra_forbidden", len(fault["loc"])))
    name = show_text(".".join(str(part) for part in fault["loc"]), 120)
    others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if fault["type"] == "extra_forbidden":
        return f"{name} is unknown: check the spelling against params.yaml{others}"
    if fault["type"] == "missing":
        return f"{name} is missing: params.yaml must give it a value{others}"
    if fault["type"] == "value_error":
        message = show_text(fault["msg"].removeprefix("Value error, "), 600)
        return f"{name + ': ' if name else ''}{message}{others}"
    return f"{name or 'params.yaml'} is {quote_value(fault['input'])}: {_describe_accepted(fault, keys)}{others}"


def _describe_accepted(fault: "ErrorDetails", keys: Mapping[str, Sequence[str]]) -> str:
    if fault["type"] == "model_type":
        return f"should be a section with {', '.join(keys[fault['ctx']['class_name']])}"
    if fault["type"] == "dict_type":
        return "should be a section of names, each with a block of its own"
    if fault["type"] == "too_short":
        return "should hold at least one entry"
    return fault["msg"][0].lower() + fault["msg"][1:]
