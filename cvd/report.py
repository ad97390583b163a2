"""plots/report.html: one page that stands by itself, from the files of the other stages. No TensorFlow, no network."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from cvd.errors import InputError
from cvd.exports import collect_exports, collect_sheets
from cvd.pictures import encode_figure
from cvd.verdict import (
    LEVEL,
    describe_overfitting,
    find_twins,
    format_p,
    format_percent,
    format_points,
    list_distinct_pairs,
    tabulate_comparison,
)
from cvd.vis.charts import draw_curves
from cvd.vis.diagnostics import draw_confusion, draw_reliability, draw_roc
from cvd.vis.forests import draw_differences, draw_overfitting
from cvd.vis.themes import DARK, LIGHT, choose_colours

TEMPLATES = Path(__file__).parent / "templates"
NOTABLE_GAP = 0.05  # accuracy gap from which the headline speaks of over-fitting


@dataclass(frozen=True)
class Results:
    """What the page is made of, read from metrics/ and plots/."""

    comparison: dict[str, Any]
    timings: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    curves: dict[str, pd.DataFrame]
    roc: dict[str, pd.DataFrame]
    reliability: dict[str, pd.DataFrame]

    @property
    def variants(self) -> list[str]:
        """Their names, in the order of the comparison."""
        return list(self.metrics)


def read_results(metrics_folder: Path, plots: Path) -> Results:
    """Reads what evaluate and compare wrote.

    Raises:
        InputError: a file is missing, with the command that makes it.
    """
    comparison = _read_json(metrics_folder / "comparison.json", "dvc repro compare")
    names = [row["variant"] for row in comparison["overfitting"]]
    return Results(
        comparison,
        _read_json(metrics_folder / "timings.json", "dvc repro compare"),
        {name: _read_json(metrics_folder / f"{name}.json", f"dvc repro evaluate@{name}") for name in names},
        *(
            {name: _read_table(plots / kind / f"{name}.csv", name) for name in names}
            for kind in ("curves", "roc", "reliability")
        ),
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


def draw_charts(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Each chart for narrow and wide screens, dark and light, in the order in which a browser tries them."""
    test = {name: found["test"] for name, found in results.metrics.items()}
    best_epochs = {name: found["overfitting"]["best_epoch"] for name, found in results.metrics.items()}
    aucs, eces, counts = ({name: found[key] for name, found in test.items()} for key in ("auc", "ece", "confusion"))
    pairs = results.comparison["pairs"]
    makers: dict[str, Callable[..., Figure]] = {
        "curves": lambda **how: draw_curves(results.curves, best_epochs=best_epochs, **how),
        "overfitting": lambda **how: draw_overfitting(results.comparison["overfitting"], **how),
        "reliability": lambda **how: draw_reliability(results.reliability, eces=eces, **how),
        "confusion": lambda **how: draw_confusion(counts, **how),
        "roc": lambda theme, tall: draw_roc(results.roc, aucs=aucs, theme=theme),
    }
    if pairs:
        makers["differences"] = lambda **how: draw_differences(pairs, **how)
    return {name: _draw_sources(make, tall_too=name != "roc") for name, make in makers.items()}


def _draw_sources(make: Callable[..., Figure], *, tall_too: bool) -> list[dict[str, Any]]:
    sources = []
    for tall in (True, False) if tall_too else (False,):
        for theme in (DARK, LIGHT):
            queries = [
                *(["(max-width: 640px)"] if tall else []),
                *(["(prefers-color-scheme: dark)"] if theme is DARK else []),
            ]
            sources.append({"media": " and ".join(queries), "picture": encode_figure(make(theme=theme, tall=tall))})
    return sources


def describe_charts(results: Results) -> dict[str, list[str]]:
    """What the charts show, in words, for those who do not see them."""
    rows, test = results.comparison["overfitting"], {name: found["test"] for name, found in results.metrics.items()}
    counts = {name: found["confusion"] for name, found in test.items()}
    return {
        "descriptions": [describe_overfitting(row) for row in rows],
        "confusions": [
            f"{name}: {cats_wrong} cats taken for dogs, {dogs_wrong} dogs taken for cats."
            for name, ((_, cats_wrong), (dogs_wrong, _)) in counts.items()
        ],
        "calibrations": [f"{name}: calibration error {found['ece']:.3f}." for name, found in test.items()],
        "areas": [f"{name}: area {found['auc']:.3f}." for name, found in test.items()],
    }


def count_images(manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """Cats and dogs of each split, then of those not used."""
    rows = []
    for split in ("train", "validation", "test", "unused"):
        labels = manifest.loc[manifest["split"] == split, "label"]
        if len(labels) or split != "unused":
            rows.append(
                {"split": split, "cats": int((labels == 0).sum()), "dogs": int((labels == 1).sum()), "all": len(labels)}
            )
    return rows


def write_headline(comparison: dict[str, Any]) -> str:
    """The answer in one line, which claims no winner where the test images show none."""
    twins = find_twins(comparison["pairs"])
    best, *others = [row for row in comparison["ranking"] if row["variant"] not in twins]
    name, accuracy = best["variant"], format_percent(best["accuracy"])
    if not others:
        return f"{name} is right on {accuracy} of the test images"
    second = others[0]["variant"]
    pair = next(pair for pair in comparison["pairs"] if {pair["first"], pair["second"]} == {name, second})
    lead = f"{name} wins with {accuracy}" if pair["p_holm"] < LEVEL else f"{name} and {second} lead, too close to call"
    worst = max(comparison["overfitting"], key=lambda row: row["accuracy_gap"])
    if worst["accuracy_gap"] < NOTABLE_GAP:
        return f"{lead}; none over-fits by {round(100 * NOTABLE_GAP)} points"
    return f"{lead}; {worst['variant']} over-fits by {round(100 * worst['accuracy_gap'])} points"


def mark_variants(text: str, variants: Sequence[str]) -> Markup:
    """The text as HTML, each variant's name in its colour (the classes `v-1`, `v-2` and so on, in their order)."""
    names = sorted(variants, key=len, reverse=True)
    pattern = r"(?<![\w-])(" + "|".join(re.escape(str(escape(name))) for name in names) + r")(?![\w-])"
    numbers = {str(escape(name)): i for i, name in enumerate(variants, start=1)}
    return Markup(
        re.sub(pattern, lambda found: f'<span class="tag v-{numbers[found[1]]}">{found[1]}</span>', str(escape(text)))
    )


def render_report(
    results: Results,
    *,
    manifest: pd.DataFrame,
    plots: Path,
    provenance: dict[str, dict[str, str]],
    params: dict[str, Any],
    params_text: str,
) -> str:
    """The whole page.

    Args:
        results: as of `read_results`.
        manifest: rows with `split` and `label`.
        plots: folder of the exports' folders; those that are absent are left out of the page.
        provenance: `code`, `versions`, `machine`, as of `cvd.provenance`.
        params: what params.yaml holds, for the few values named in the text (`seed`, `data.source`, `split.seed`), and
            for the variants whose exports are shown (`activations.variants`, `filters.variants`).
        params_text: params.yaml as it is written.

    Returns:
        HTML that needs no other file.
    """
    return _open_template(results.variants).render(
        **_tell_results(results),
        charts=draw_charts(results),
        **describe_charts(results),
        exports=collect_exports(plots, {name: params[name]["variants"] for name in ("activations", "filters")}),
        sheets=collect_sheets(plots / "data"),
        counts=count_images(manifest),
        params=params,
        params_text=params_text,
        **provenance,
    )


def _open_template(variants: Sequence[str]) -> Template:
    """The page's template, with its filters: names of variants in colour, figures as people write them."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "mark": lambda text: mark_variants(text, variants),
        "percent": format_percent,
        "points": format_points,
        "p": format_p,
    }
    return environment.get_template("report.html.j2")


def _tell_results(results: Results) -> dict[str, Any]:
    """What the page says in words, tables and colours of the variants."""
    comparison = results.comparison
    table = tabulate_comparison(comparison).astype(object)
    return {
        "headline": write_headline(comparison),
        "comparison": comparison,
        "rows": table.where(table.notna(), None).to_dict("records"),
        "pairs": list_distinct_pairs(comparison["pairs"]),
        "level": LEVEL,
        "twins": find_twins(comparison["pairs"]),
        "metrics": results.metrics,
        "timings": results.timings,
        "light": choose_colours(results.variants, LIGHT),
        "dark": choose_colours(results.variants, DARK),
    }
