"""What MLflow's UI shows of the experiment: a description, and a saved view in the format of MLflow 3.17's own page."""

import base64
import colorsys
import json
import re
import zlib
from collections.abc import Sequence
from typing import Any

from cvd.runtime.vocabulary import HUES, SHADES

DESCRIPTION = """\
**Start with *Views*, "Over-fitting" (top right), then the chart icon**: the curves with their gaps, then the figures.

* A run is one training, `EXPERIMENT/VARIANT`; EXPERIMENT is DVC's name (`dvc exp show`), or `workspace` for a plain
  `dvc repro`. `dvc exp apply EXPERIMENT` brings its files back; `cvd runs EXPERIMENT` lists its runs.
* `accuracy` (dashed) against `val_accuracy` (solid) shows the over-fitting; `gap_accuracy` and `gap_loss` are its size
  (train minus validation accuracy, validation minus train loss), by epoch, the same names in every variant.
* Runs of one variant have shades of one colour: a new run another one than those before it.
* **The variants of an experiment side by side**, with those that it left untouched: filter
  `tags.groups LIKE "% EXPERIMENT %"`, or `cvd runs EXPERIMENT`, which makes a view of it.
* **One variant over experiments**: filter `tags.variant = "augmented"`, add the columns `augment.*` and
  `test/accuracy`, or *Group by* tag `variant`.
* `train/...`, `validation/...`, `test/...`: the saved model on clean images; `overfitting/...`: its gap.
* A run of kind `evaluation` trained nothing: its tag `source_run_id` names the run that trained its model.
* Missing runs (restored from DVC's cache, pulled, or made while the server was down): `cvd sync`.
"""

KEY = "overfitting"  # of the page's address: #/experiments/1/runs?viewStateShareKey=overfitting
TAG = f"mlflow.sharedViewState.{KEY}"
TITLE = "Over-fitting: curves, gaps, test accuracy"
COLUMNS = (
    "metrics.`test/accuracy`",
    "metrics.`overfitting/accuracy_gap`",
    "params.`augment.rotation_degrees`",
    "params.`variant.dropout`",
    "params.`variant.epochs`",
    "tags.`variant`",
)
# The UI draws the first solid and the second dashed, as the project's own figures do.
CURVES = (("val_accuracy", "accuracy"), ("val_loss", "loss"), ("gap_accuracy",), ("gap_loss",))
FIGURES = ("test/accuracy", "overfitting/accuracy_gap", "validation/accuracy", "train/accuracy")
OTHERS = ("learning_rate", "images_per_second")
LINES = {  # how the UI draws curves
    "xAxisKey": "step",
    "selectedXAxisMetricKey": "",
    "xAxisScaleType": "linear",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "scaleType": "linear",
    "range": {},
    "lineSmoothness": 0,
    "displayPoints": False,  # marks at each epoch hide what is dashed
    "ignoreOutliers": False,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}
COLOUR = "mlflow.runColor"  # a run's tag; the UI's own choice gives two variants the same colour now and then
COLOURS = {name: SHADES[HUES[name]] for name in ("baseline", "augmented", "tfrecord", "transfer")}
LIGHTNESSES = (0.2, 0.35, 0.5, 0.65, 0.8)  # of shades, the nearest to a variant's own left out


def describe_experiment() -> dict[str, str]:
    """The experiment's tags. Its kind opens the UI on runs and charts, not on traces of language models."""
    kind = "custom_model_development"
    return {"mlflow.note.content": DESCRIPTION, "mlflow.experimentKind": kind, TAG: describe_view()}


def choose_colour(variant: str, taken: Sequence[str]) -> dict[str, str]:
    """The tag with a run's colour: as in the figures, or a shade of it that none of the variant's newest runs has.

    `taken` are the colours of the variant's runs, newest first. Other variants get the UI's own colours.
    """
    if (base := COLOURS.get(variant)) is None:
        return {}
    hue, base_lightness, saturation = colorsys.rgb_to_hls(
        *(int(base[place : place + 2], 16) / 255 for place in (1, 3, 5))
    )
    far = sorted(LIGHTNESSES, key=lambda lightness: -abs(lightness - base_lightness))[:-1]  # the nearest looks alike
    shades = [colorsys.hls_to_rgb(hue, lightness, saturation) for lightness in far]
    colours = [base, *("#" + "".join(f"{round(255 * channel):02x}" for channel in shade) for shade in shades)]
    free = [colour for colour in colours if colour not in taken]
    return {COLOUR: free[0] if free else max(colours, key=list(taken).index)}


def name_view(experiment: str) -> tuple[str, str]:
    """Key and tag of the view of one experiment."""
    key = f"experiment-{re.sub(r'[^A-Za-z0-9-]', '-', experiment)}"
    return key, f"mlflow.sharedViewState.{key}"


def describe_view(experiment: str | None = None) -> str:
    """The tag's value: all runs, or those of one experiment."""
    sections = (  # with how many charts stand in a row, and their height: the first is seen at one glance
        ("Over-fitting, epoch by epoch", 2, 290),
        ("The saved models, on clean images", 4, 270),
        ("How it was trained", 2, 270),
    )
    state = {
        "searchFilter": f'tags.groups LIKE "% {experiment} %"' if experiment else "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(COLUMNS),
        "runsHiddenMode": "FIRST_10_RUNS",
        "compareRunCharts": [
            *(_draw("LINE", metrics, "section-0") for metrics in CURVES),
            *(_draw("BAR", (metric,), "section-1") for metric in FIGURES),
            *(_draw("LINE", (metric,), "section-2") for metric in OTHERS),
        ],
        "compareRunSections": [
            {"uuid": f"section-{place}", "name": name, "display": True, "isReordered": True, "deleted": False}
            | {"isGenerated": False, "columns": columns, "cardHeight": height_px}
            for place, (name, columns, height_px) in enumerate(sections)
        ],
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    name = f"{experiment}: {TITLE.lower()}" if experiment else TITLE
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def _draw(kind: str, metrics: tuple[str, ...], section: str) -> dict[str, Any]:
    return {
        "uuid": f"chart-{'-'.join(metrics).replace('/', '-')}",
        "type": kind,
        "runsCountToCompare": 10,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "displayName": " and ".join(metrics),
        "metricKey": metrics[0],
    } | (LINES | {"selectedMetricKeys": list(metrics)} if kind == "LINE" else {})
