"""One short script per stage: parse paths, read params, call the library, write files.

This is the one file of code that works at import: it is all that runs before a stage's own imports. Without it a `dvc`
that is run from an environment that is not activated starts the system's Python, which ends in a traceback.
"""

import sys
from importlib.util import find_spec

if any(find_spec(name) is None for name in ("dvc", "pydantic", "tensorflow")):
    advice = "source .venv/bin/activate, or make repro"
    print(f"error: `python` is {sys.executable}, which lacks this project's packages: {advice}", file=sys.stderr)
    sys.exit(2)
