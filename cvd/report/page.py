"""plots/report.html: one page that stands by itself, from the files of the other stages. No TensorFlow, no network."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from cvd.evaluation.figures import Comparison
from cvd.evaluation.fit import OVER, UNDER
from cvd.evaluation.tables import list_advice, tabulate_comparison
from cvd.evaluation.verdict import (
    LEVEL,
    find_twins,
    format_p,
    format_percent,
    format_points,
    format_signed,
    list_distinct_pairs,
)
from cvd.report.exports import collect_exports, collect_sheets
from cvd.report.illustrations import Sources, describe_charts
from cvd.report.instrument.curves import draw_panels, list_values, tabulate_last
from cvd.report.instrument.wall import Wall
from cvd.report.provenance import Trial
from cvd.report.results import Results
from cvd.runtime.vocabulary import SPLITS, add_article, pluralise
from cvd.vis.charts.themes import DARK, LIGHT, choose_colours

TEMPLATES = Path(__file__).parent
SCRIPT = TEMPLATES / "instrument.js"


def count_images(manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """Count the images of both classes in each split, then of those not used."""
    rows: list[dict[str, Any]] = []
    for split in (*SPLITS, "unused"):
        labels = manifest.loc[manifest["split"] == split, "label"]
        n_first, n_second = int((labels == 0).sum()), int((labels == 1).sum())
        if len(labels) or split != "unused":
            rows.append({"split": split, "first": n_first, "second": n_second, "all": len(labels)})
    return rows


def write_headline(comparison: Comparison) -> str:
    """Write the answer in one line, which claims no winner where the test images show none."""
    twins = find_twins(comparison["pairs"])
    best, *others = [row for row in comparison["ranking"] if row["variant"] not in twins]
    name, accuracy = best["variant"], format_percent(best["accuracy"])
    if not others:
        return f"{name} is right on {accuracy} of the test images"
    second = others[0]["variant"]
    pair = next(pair for pair in comparison["pairs"] if {pair["first"], pair["second"]} == {name, second})
    lead = f"{name} wins with {accuracy}" if pair["p_holm"] < LEVEL else f"{name} and {second} lead, too close to call"
    rows = sorted(comparison["overfitting"], key=lambda row: -row["accuracy_gap"])
    if worst := next((row for row in rows if row["state"] == OVER), None):
        return f"{lead}; {worst['variant']} over-fits by {format_points(worst['accuracy_gap'], sign=False)} points"
    names = ", ".join(row["variant"] for row in rows if row["state"] == UNDER)
    return f"{lead}; none over-fits" + (f", but {names} under-fit" if names else "")


def mark_variants(text: str, variants: Sequence[str]) -> Markup:
    """Render a text as HTML: `code`, and each variant's name in its colour (classes `v-1`, `v-2`, in their order)."""
    html = re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    if not variants:
        return Markup(html)
    names = sorted(variants, key=len, reverse=True)
    pattern = r"(?<![\w-])(" + "|".join(re.escape(str(escape(name))) for name in names) + r")(?![\w-])"
    numbers = {str(escape(name)): i for i, name in enumerate(variants, start=1)}
    return Markup(re.sub(pattern, lambda match: f'<span class="tag v-{numbers[match[1]]}">{match[1]}</span>', html))


def render_report(
    results: Results,
    *,
    charts: Mapping[str, Future[Sources]],
    manifest: pd.DataFrame,
    plots: Path,
    provenance: dict[str, dict[str, str]],
    wall: Wall,
    trial: Trial,
    params: dict[str, Any],
    params_text: str,
) -> str:
    """Render the whole page as HTML that needs no other file; exports that `plots` lacks are left out.

    `charts` are as of `start_charts`, `provenance` has `code`, `versions`, `machine`. The text names values of
    `params`, and quotes `params_text`.
    """
    with ThreadPoolExecutor() as pool:  # Pillow keeps no other thread from running
        exports = pool.submit(collect_exports, plots, results.variants, results.classes)
        sheets = pool.submit(collect_sheets, plots, results.classes)
    return _open_template(results.variants).render(
        **_list_results(results),
        charts={name: chart.result() for name, chart in charts.items()},
        **describe_charts(results),
        exports=exports.result(),
        sheets=sheets.result(),
        wall=wall,
        panels=draw_panels(results.curves),
        last_epoch=tabulate_last(results.curves),
        data={"curves": list_values(results.curves), "wall": wall.list_data()},
        script=Markup(SCRIPT.read_text(encoding="utf-8")),
        counts=count_images(manifest),
        trial=trial,
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
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    environment.filters |= {
        "mark": lambda text: mark_variants(text, variants),
        "percent": format_percent,
        "points": format_points,
        "signed": format_signed,
        "p": format_p,
        "plural": pluralise,
        "article": add_article,
    }
    return environment.get_template("report.html.j2")


def _list_results(results: Results) -> dict[str, Any]:
    """What the page says in words, tables and colours of the variants."""
    comparison = results.comparison
    table = tabulate_comparison(comparison).astype(object)
    return {
        "headline": write_headline(comparison),
        "classes": results.classes,
        "comparison": comparison,
        "rows": table.where(table.notna(), None).to_dict("records"),
        "pairs": list_distinct_pairs(comparison["pairs"]),
        "level": LEVEL,
        "twins": find_twins(comparison["pairs"]),
        "advice": list_advice(comparison, results.timings),
        "metrics": results.metrics,
        "confusions": {name: figures["test"]["confusion"] for name, figures in results.metrics.items()},
        "timings": results.timings,
        "intake": results.intake,
        "explanations": results.explanations,
        "faults": results.faults,
        "light": choose_colours(results.variants, LIGHT),
        "dark": choose_colours(results.variants, DARK),
    }
