"""Everything that the report is made of, read from the files of the other stages."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cvd.report.extras import find_others, read_optional, read_sizes, tell_explanations, tell_intake
from cvd.runtime.errors import InputError


@dataclass(frozen=True)
class Results:
    """What the page is made of: of evaluate and compare, and what there is beside them, as of `cvd.report.extras`."""

    comparison: dict[str, Any]
    timings: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    curves: dict[str, pd.DataFrame]
    roc: dict[str, pd.DataFrame]
    reliability: dict[str, pd.DataFrame]
    intake: dict[str, Any] | None
    explanations: dict[str, Any] | None
    others: list[dict[str, Any]]
    sizes: pd.DataFrame | None

    @property
    def variants(self) -> list[str]:
        """Their names, in the order of the comparison."""
        return list(self.metrics)


def read_results(
    metrics_folder: Path, plots: Path, *, predictions: Path | None = None, quarantine: Path | None = None
) -> Results:
    """Reads what evaluate and compare wrote, and of the rest what there is.

    Args:
        metrics_folder: metrics/.
        plots: plots/.
        predictions: predictions/, to find other variants that were evaluated.
        quarantine: data/quarantine.csv.

    Raises:
        InputError: a file is missing, with the command that makes it.
    """
    comparison = _read_json(metrics_folder / "comparison.json", "dvc repro compare")
    names = [row["variant"] for row in comparison["overfitting"]]
    curves, roc, reliability = (
        {name: _read_table(plots / kind / f"{name}.csv", name) for name in names}
        for kind in ("curves", "roc", "reliability")
    )
    return Results(
        comparison=comparison,
        timings=_read_json(metrics_folder / "timings.json", "dvc repro compare"),
        metrics={name: _read_json(metrics_folder / f"{name}.json", f"dvc repro evaluate@{name}") for name in names},
        curves=curves,
        roc=roc,
        reliability=reliability,
        intake=tell_intake(
            read_optional(metrics_folder / "data.json"),
            pd.read_csv(quarantine, keep_default_na=False) if quarantine and quarantine.is_file() else None,
        ),
        explanations=tell_explanations(read_optional(metrics_folder / "explanations.json")),
        others=find_others(metrics_folder, predictions, names) if predictions else [],
        sizes=read_sizes(plots / "sizes"),
    )


def _read_json(path: Path, command: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or not JSON: make it with `{command}`") from error


def _read_table(path: Path, variant: str) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or not a table: make it with `dvc repro evaluate@{variant}`") from error
