"""What MLflow's UI shows of the experiment: a description, and a saved view with columns and charts of over-fitting.

The view's format is the UI's own (MLflow 3.17): an experiment tag, with what the page keeps in the browser. Another
version that does not know it shows its usual page.
"""

import base64
import json
import zlib
from typing import Any

DESCRIPTION = """\
**Over-fitting, and what cures it.** A run is one training: `EXPERIMENT/VARIANT`, EXPERIMENT being DVC's name
(`dvc exp show`) or `workspace` for a plain `dvc repro`.

* **Start with *Views*, "Over-fitting"** (top right), then the chart icon: the curves with their gaps, then the figures.
  `accuracy` against `val_accuracy` shows the over-fitting; `gap_accuracy` and `gap_loss` are its size (train minus
  validation accuracy, validation minus train loss), by epoch, the same names in every variant.
* **The four variants side by side**: filter `tags.group = "EXPERIMENT"`.
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


def describe_view() -> str:
    """The tag's value."""
    sections = ("Over-fitting, epoch by epoch", "The saved models, on clean images", "How it was trained")
    state = {
        "searchFilter": "",
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
    return json.dumps({"name": TITLE, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


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
