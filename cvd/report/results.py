"""Everything that the report is made of, read from the files of the other stages."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cvd.evaluation.figures import Comparison, Metrics, TimingSummary, list_classes, read_table
from cvd.evaluation.lesson import cures, sizes
from cvd.evaluation.tables import read_charts
from cvd.report.extras import Intake, MapTable, list_explanations, summarise_intake
from cvd.report.faults import list_faults
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json
from cvd.runtime.vocabulary import Classes

# Of cures: what the base, and early stopping, have not.
MAY_LACK = tuple(f"{name}{end}" for name in ("test", "difference") for end in ("", "_low", "_high"))


@dataclass(frozen=True)
class Results:
    """What evaluate and compare wrote, and what there is beside them, as of `cvd.report.extras`."""

    comparison: Comparison
    timings: dict[str, TimingSummary]
    metrics: dict[str, Metrics]
    curves: dict[str, pd.DataFrame]
    roc: dict[str, pd.DataFrame]
    reliability: dict[str, pd.DataFrame]
    sizes: pd.DataFrame | None
    cures: pd.DataFrame | None
    intake: Intake | None
    explanations: MapTable | None
    faults: list[str]

    @property
    def variants(self) -> list[str]:
        """Their names, in the order of the comparison."""
        return list(self.metrics)

    @property
    def classes(self) -> Classes:
        """The names of the two classes."""
        return list_classes(next(iter(self.metrics.values())))


def read_results(metrics: Path, plots: Path, quarantine: Path) -> Results:
    """Read what evaluate and compare wrote, and of the rest what there is.

    Raises:
        InputError: a file is missing or damaged, with the command that makes it.
    """
    comparison: Comparison = read_json(metrics / "comparison.json")
    names = [row["variant"] for row in comparison["overfitting"]]
    charts = {kind: _read_charts(plots / f"comparison/{kind}.csv", names) for kind in ("curves", "roc", "reliability")}
    intake = read_json(path) if (path := metrics / "data.json").is_file() else None
    labels = read_json(path) if (path := metrics / "labels.json").is_file() else None
    maps = {name: read_json(path) for name in names if (path := metrics / f"explanations/{name}.json").is_file()}
    set_apart = read_table(quarantine, "split", keep_default_na=False) if quarantine.is_file() else None
    return Results(
        comparison=comparison,
        timings=read_json(metrics / "timings.json"),
        metrics={name: read_json(metrics / f"{name}.json") for name in names},
        sizes=_read_lesson(plots / "comparison/sizes.csv", sizes.COLUMNS),
        cures=_read_lesson(plots / "comparison/cures.csv", cures.COLUMNS, may_lack=MAY_LACK),
        intake=summarise_intake(intake, set_apart),
        explanations=list_explanations(maps),
        faults=list_faults(intake, labels, maps),
        **charts,
    )


def _read_charts(path: Path, names: list[str]) -> dict[str, pd.DataFrame]:
    charts = read_charts(path)
    if missing := [name for name in names if name not in charts]:
        raise InputError(f"{path} lacks {', '.join(missing)}: make it again with `dvc repro -f compare`")
    return {name: charts[name] for name in names}


def _read_lesson(path: Path, columns: tuple[str, ...], may_lack: tuple[str, ...] = ()) -> pd.DataFrame | None:
    """Read a table that is there only where the variants for it were trained."""
    if not path.is_file():
        return None
    table = read_table(path, "compare", converters={"variant": str}, keep_default_na=False, na_values=[""])
    words = [name for name in ("variant", "cure", "change", "state", "evidence") if name in columns]
    needed = [name for name in columns[1:] if name not in (*words, *may_lack)]
    if tuple(table) != columns or len(table) < 2 or table[needed].isna().any(axis=None):
        raise InputError(f"{path} is not a table of compare: make it again with `dvc repro -f compare`")
    return table.fillna(dict.fromkeys(words, ""))
