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


def list_networks() -> list[str]:
    """List the networks from scratch by name."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def read_builder(network: object) -> str | None:
    """Read the module that builds a network; None where there is none."""
    is_name = isinstance(network, str) and network.isidentifier() and not network.startswith("_")
    path = FOLDER / f"{network}.py"
    return path.read_text(encoding="utf-8") if is_name and path.is_file() else None


def parse_keys(network: str, text: str) -> dict[str, tuple[Any, Any]]:
    """Parse a network's own keys out of the text of its module: types with limits, and defaults (`...` where none is).

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
    given = named[-1].args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    positional: list[ast.expr | None] = [None] * (len(parameters) - len(given.defaults) - len(given.kwonlyargs))
    defaults = [*positional, *given.defaults, *given.kw_defaults]
    if lacking := [name for name in NEEDED if name not in {parameter.arg for parameter in parameters}]:
        raise InputError(f"{place}: build_{network} lacks the parameter {' and '.join(lacking)}")
    keys = {}
    for parameter, default in zip(parameters, defaults, strict=True):
        if parameter.arg not in GIVEN:
            try:
                value = ... if default is None else ast.literal_eval(default)
                keys[parameter.arg] = (_read_type(parameter.annotation), value)
            except (TypeError, ValueError) as error:
                accepted = "int, float, bool or str, or Annotated[int, Field(ge=1, le=9)], and a plain default if any"
                raise InputError(f"{place}, line {parameter.lineno}: {parameter.arg} should be {accepted}") from error
    return keys


def _read_type(annotation: ast.expr | None) -> Any:
    match annotation:
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Subscript(ast.Name("Annotated"), ast.Tuple([kind, ast.Call(ast.Name("Field"), [], limits)])):
            return Annotated[
                _read_type(kind), Field(**{str(limit.arg): ast.literal_eval(limit.value) for limit in limits})
            ]
    raise ValueError(annotation)
