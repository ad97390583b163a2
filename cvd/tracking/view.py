"""What MLflow's UI shows of the experiment: a description, and a saved view with columns and charts of over-fitting.

The view's format is the UI's own (MLflow 3.17): an experiment tag, with what the page keeps in the browser. Another
version that does not know it shows its usual page.
"""

import base64
import json
import re
import zlib
from typing import Any

DESCRIPTION = """\
**Start with *Views*, "Over-fitting" (top right), then the chart icon**: the curves with their gaps, then the figures.

* A run is one training, `EXPERIMENT/VARIANT`; EXPERIMENT is DVC's name (`dvc exp show`), or `workspace` for a plain
  `dvc repro`. `dvc exp apply EXPERIMENT` brings its files back; `cvd runs EXPERIMENT` lists its runs.
* `accuracy` against `val_accuracy` shows the over-fitting; `gap_accuracy` and `gap_loss` are its size (train minus
  validation accuracy, validation minus train loss), by epoch, the same names in every variant.
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
CURVES = (("accuracy", "val_accuracy"), ("loss", "val_loss"), ("gap_accuracy",), ("gap_loss",))
FIGURES = ("test/accuracy", "overfitting/accuracy_gap", "validation/accuracy", "train/accuracy")
OTHERS = ("learning_rate", "images_per_second")


def describe_experiment() -> dict[str, str]:
    """The experiment's tags. Its kind opens the UI on runs and charts, not on traces of language models."""
    return {
        "mlflow.note.content": DESCRIPTION,
        "mlflow.experimentKind": "custom_model_development",
        TAG: describe_view(),
    }


def name_view(experiment: str) -> tuple[str, str]:
    """Key and tag of the view of one experiment."""
    key = f"experiment-{re.sub(r'[^A-Za-z0-9-]', '-', experiment)}"
    return key, f"mlflow.sharedViewState.{key}"


def describe_view(experiment: str | None = None) -> str:
    """The tag's value: all runs, or those of one experiment."""
    sections = ("Over-fitting, epoch by epoch", "The saved models, on clean images", "How it was trained")
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
            *(_draw_lines(metrics, "section-0") for metrics in CURVES),
            *(_draw_bars(metric, "section-1") for metric in FIGURES),
            *(_draw_lines((metric,), "section-2") for metric in OTHERS),
        ],
        "compareRunSections": [
            {"uuid": f"section-{place}", "name": name, "display": True, "isReordered": True, "deleted": False}
            | {"isGenerated": False}
            for place, name in enumerate(sections)
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


def _draw_lines(metrics: tuple[str, ...], section: str) -> dict[str, Any]:
    return _draw("LINE", metrics, section) | {
        "selectedMetricKeys": list(metrics),
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _draw_bars(metric: str, section: str) -> dict[str, Any]:
    return _draw("BAR", (metric,), section)


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
    }
