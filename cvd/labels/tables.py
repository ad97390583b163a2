"""predictions/labels.csv, read without any library of machine learning."""

from pathlib import Path

import pandas as pd

from cvd.runtime.errors import InputError

COLUMNS = ("path", "label", "probability", "score", "verdict")
SUSPECT, PLAUSIBLE = "suspect", "plausible"


def read_labels(path: Path) -> pd.DataFrame:
    """Read a predictions/labels.csv.

    Raises:
        InputError: the file is missing, or is no such table.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; run `dvc repro labels`") from error
    if tuple(table.columns) != COLUMNS:
        raise InputError(f"{path} has the columns {','.join(map(str, table.columns))}: expected {','.join(COLUMNS)}")
    return table
