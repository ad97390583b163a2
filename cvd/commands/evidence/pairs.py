"""Two revisions: what became of each variant on the same test images, what differs, and which answers turned."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from cvd.commands.evidence.formats import render_csv
from cvd.evaluation.comparison import measure_accuracy, measure_change, read_test_images
from cvd.evaluation.figures import Measured
from cvd.evaluation.measures import read_predictions
from cvd.evaluation.tables import render_table
from cvd.evaluation.verdict import describe_change, describe_unpaired, format_p, format_percent, format_points
from cvd.runtime.errors import InputError
from cvd.runtime.experiments import HEAD, list_digests
from cvd.runtime.files import render_json
from cvd.runtime.revisions.contents import EVALUATE, Revision
from cvd.runtime.revisions.differences import Differences, find_differences

MANIFEST = "data/manifest.csv"
N_NAMED = 10  # images of each kind that Markdown names
WHENS = ("before", "after")


def compare_pair(before: Revision, after: Revision, variants: Sequence[str] | None = None) -> dict[str, Any]:
    """Compare each variant that both revisions have.

    Returns:
        `before`, `after`: the names of the revisions.
        `changed`: a row for each variant that answers otherwise, with `differences`, `sentence` and its `Change`.
        Its `unpaired` is None, or says why nothing can be paired; of `Change` it then has `before` and `after` only.
        `unchanged`, `only_before`, `only_after`: names of the other variants.
        `absent`: sentences on predictions that cannot be read, and what to do.

    Raises:
        InputError: a revision has no results, or a variant is not in both.
    """
    for revision in (before, after):
        if not revision.variants:
            raise InputError(f"{revision.name} has no results in its dvc.lock: `dvc repro` makes them, then commit it")
    common = [name for name in after.variants if name in before.variants]
    for name in variants or ():
        if name not in common:
            fault = f"is not in both {before.name} and {after.name}"
            raise InputError(f"variant {name!r} {fault}: they share {', '.join(common) or 'none'}")
    pair: dict[str, Any] = {"before": before.name, "after": after.name}
    pair |= {"changed": [], "unchanged": [], "absent": []}
    pair |= {
        f"only_{when}": [name for name in revision.variants if name not in common]
        for when, revision in zip(WHENS, (before, after), strict=True)
    }
    absent = []
    for name in variants or common:
        path = f"predictions/{name}.csv"
        if before.digests.get(path) == after.digests.get(path):
            pair["unchanged"].append(name)
        elif not all(revision.find_output(path) for revision in (before, after)):
            absent.append(path)
        else:
            pair["changed"].append(_compare_variant(name, before, after))
    for revision in (before, after):
        if paths := [path for path in absent if not revision.find_output(path)]:
            pair["absent"].append(_say_absent(revision, *paths))
    return pair


def _compare_variant(name: str, before: Revision, after: Revision) -> dict[str, Any]:
    old, new = (read_output(revision, name) for revision in (before, after))
    unpaired = find_obstacle(before, after, name)
    differences = asdict(find_differences(before.stages, after.stages, [EVALUATE + name]))
    row = {"variant": name, "unpaired": unpaired, "differences": differences}
    if unpaired is None:
        change = measure_change(old, new)
        return {**row, "sentence": describe_change(name, change), **change}
    measured = measure_accuracy(old), measure_accuracy(new)
    return {**row, "sentence": describe_unpaired(name, *measured), **dict(zip(WHENS, measured, strict=True))}


def read_output(revision: Revision, variant: str) -> pd.DataFrame:
    """Read the predictions of a variant in a revision.

    Raises:
        InputError: neither DVC's cache nor the working folder has them.
    """
    path = revision.find_output(f"predictions/{variant}.csv")
    if path is None:
        raise InputError(_say_absent(revision, f"predictions/{variant}.csv"))
    return read_predictions(path)


def find_obstacle(before: Revision, after: Revision, variant: str) -> str | None:
    """Find why a variant's test images cannot be paired; None where they are the same, byte for byte."""
    stage = EVALUATE + variant
    digests = [list_digests(revision.stages[stage], "deps").get(MANIFEST) for revision in (before, after)]
    if digests[0] == digests[1]:
        return None
    manifests = [revision.find_input(stage, MANIFEST) for revision in (before, after)]
    for revision, manifest in zip((before, after), manifests, strict=True):
        if manifest is None:
            return f"whether the test images are the same is unknown: {_say_absent(revision, MANIFEST)}"
    tests = [read_test_images(manifest) for manifest in manifests if manifest]
    if tests[0].equals(tests[1]):
        return None
    shared = len(tests[0].merge(tests[1], on=["path", "label", "sha256"]))
    reasons = find_differences(before.stages, after.stages, ["split"]).describe()
    counts = f"{len(tests[0]):,} and {len(tests[1]):,}, of which {shared:,} are the same"
    return f"the test images differ ({counts}): {'; '.join(reasons) or 'by nothing that dvc.lock names'}"


def _say_absent(revision: Revision, *paths: str) -> str:
    names = " ".join(paths)
    fetch = f"`dvc fetch {names}`"
    if revision.ref.startswith("refs/exps/"):
        fetch = f"`dvc exp apply {revision.name}`, then `dvc pull` or `dvc repro`,"
    elif revision.ref and revision.name != HEAD:
        fetch = f"`dvc fetch -A {names}`"
    return f"DVC's cache lacks {', '.join(paths)} of {revision.name}: {fetch} brings what is missing"


def render_pair(pair: dict[str, Any], form: str) -> str:
    """Render what `compare_pair` says, as Markdown, CSV or JSON."""
    if form == "json":
        return render_json(pair)
    if form == "csv":
        return render_csv(pd.DataFrame(_tabulate(pair)))
    paired = [row for row in pair["changed"] if row["unpaired"] is None]
    heading = f"From {pair['before']} to {pair['after']}"
    if paired:
        heading += f", on the same {paired[0]['n_images']:,} test images."
    elif pair["changed"]:
        heading += f": nothing can be paired, since {pair['changed'][0]['unpaired']}."
    else:
        heading += ": no answer differs." if not pair["absent"] else "."
    parts = [heading]
    if pair["changed"]:
        parts += [_render_rows(pair), "\n".join(line for row in pair["changed"] for line in _list_details(pair, row))]
    lines = [f"- {sentence}" for sentence in pair["absent"]]
    if pair["unchanged"]:
        lines.append(f"- unchanged: {', '.join(pair['unchanged'])}")
    lines += [f"- only in {pair[when]}: {', '.join(names)}" for when in WHENS if (names := pair[f"only_{when}"])]
    parts += ["\n".join(lines)] if lines else []
    if paired:
        parts.append(
            "Intervals: accuracies Wilson's, differences Tango's score; p: McNemar's exact test of each variant alone. "
            "They ask what other test images would have said, not what another seed would: `cvd compare --seeds`."
        )
    return "\n\n".join(parts) + "\n"


def _render_rows(pair: dict[str, Any]) -> str:
    heads = ["variant", *(f"test, {pair[when]} (95%)" for when in WHENS), "difference, points (95%)", "p (McNemar)"]
    heads += ["validation", "gap, points"]
    rows = []
    for row in pair["changed"]:
        old, new = row["before"], row["after"]
        paired = ["", ""]
        if row["unpaired"] is None:
            bounds = f"{format_points(row['difference_low'])} to {format_points(row['difference_high'])}"
            p = format_p(row["p"]).removeprefix("p ").removeprefix("= ")
            paired = [f"{format_points(row['difference'])} ({bounds})", p]
        gaps = f"{format_points(old['gap'])} to {format_points(new['gap'])}"
        validation = " to ".join(format_percent(side["validation_accuracy"]) for side in (old, new))
        change = format_points(new["gap"] - old["gap"])
        cells = [_render_accuracy(old), _render_accuracy(new), *paired, validation, f"{gaps} ({change})"]
        rows.append([row["variant"], *cells])
    return render_table(heads, rows)


def _render_accuracy(side: Measured) -> str:
    bounds = f"{format_percent(side['accuracy_low'])} to {format_percent(side['accuracy_high'])}"
    return f"{format_percent(side['accuracy'])} ({bounds})"


def _list_details(pair: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """List a variant's sentence, what differs, and the images whose answer turned."""
    phrases = Differences(**row["differences"]).describe() or ["nothing that dvc.lock names"]
    lines = [f"- {row['sentence']}", f"  - differs: {'; '.join(phrases)}"]
    for when in () if row["unpaired"] else WHENS:
        paths = row[f"only_{when}_right"]
        more = f" and {len(paths) - N_NAMED:,} more, which --json lists" if len(paths) > N_NAMED else ""
        named = f": {', '.join(paths[:N_NAMED])}" if paths else ""
        lines.append(f"  - only {pair[when]} right, {len(paths):,}{named}{more}")
    return lines


def _tabulate(pair: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each variant that both have, with its figures in full precision."""
    rows = []
    for row in pair["changed"]:
        measured = {f"{key}_{when}": value for when in WHENS for key, value in row[when].items()}
        figures = {key: row.get(key) for key in ("difference", "difference_low", "difference_high", "p")}
        counts = {f"only_{when}_right": len(row[key]) for when in WHENS if (key := f"only_{when}_right") in row}
        words = "; ".join(Differences(**row["differences"]).describe())
        rows.append({"variant": row["variant"], **measured, **figures, **counts, "differences": words})
    return rows + [{"variant": name, "differences": "unchanged"} for name in pair["unchanged"]]
