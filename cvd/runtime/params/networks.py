"""What blocks of networks from scratch may say: read from the functions that build them, without running these.

`cvd/models/scratch/NAME.py` has `build_NAME`. Its parameters are the keys; all blocks have some, or the training gives
them.
"""

import ast
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cvd.runtime.errors import InputError

FOLDER = Path(__file__).parents[2] / "models/scratch"
NEEDED = ("size_px", "dropout", "dtype")  # parameters of every builder
GIVEN = (*NEEDED, "for_training")  # what is no key of its own
_TYPES = {"int": int, "float": float, "bool": bool, "str": str}
_LIMITS = {"ge", "gt", "le", "lt"}


def list_networks() -> list[str]:
    """List the networks from scratch by name."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def read_builder(network: object) -> bytes | None:
    """Read the module that builds a network; None where there is none."""
    is_name = isinstance(network, str) and network.isidentifier() and not network.startswith("_")
    path = FOLDER / f"{network}.py"
    return path.read_bytes() if is_name and path.is_file() else None


def parse_keys(network: str, text: bytes) -> dict[str, Any]:
    """Parse a network's own keys out of the text of its module: types with limits. Its defaults count for nothing.

    Raises:
        InputError: it is not Python, has no such function, or a parameter that is no key.
    """
    place = f"cvd/models/scratch/{network}.py"
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{place} is not Python: {error}") from error
    named = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == f"build_{network}"]
    if not named:
        raise InputError(f"{place} has no function build_{network}, which should build the network {network!r}")
    parameters = [*named[-1].args.args, *named[-1].args.kwonlyargs]  # they are given by name
    if lacking := [name for name in NEEDED if name not in {parameter.arg for parameter in parameters}]:
        raise InputError(f"{place}: build_{network} lacks the parameter {' and '.join(lacking)}")
    keys = {}
    for parameter in parameters:
        if parameter.arg not in GIVEN:
            try:
                keys[parameter.arg] = _read_type(parameter.annotation)
            except (TypeError, ValueError) as error:
                accepted = "int, float, bool or str, or Annotated[int, Field(ge=1, le=9)]"
                raise InputError(f"{place}, line {parameter.lineno}: {parameter.arg} should be {accepted}") from error
    return keys


def _read_type(annotation: ast.expr | None) -> Any:
    match annotation:
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Subscript(
            ast.Name("Annotated"),
            ast.Tuple([ast.Name("int" | "float" as name), ast.Call(ast.Name("Field"), [], given)]),
        ):
            limits: dict[Any, Any] = {limit.arg: ast.literal_eval(limit.value) for limit in given}
            if limits.keys() <= _LIMITS and all(isinstance(value, (int, _TYPES[name])) for value in limits.values()):
                return Annotated[_TYPES[name], Field(**limits)]
    raise ValueError(annotation)
