"""What MLflow's UI shows of the experiment: a description, and a saved view in the format of MLflow 3.17's own page."""

import base64
import colorsys
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvd.runtime.vocabulary import HUES, SHADES

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
IMAGES = (tuple(f"gradcam/{number}" for number in (1, 2, 3, 4)), ("epochs/1", "epochs/2"), ("mistakes",))
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
    kind, text = "custom_model_development", Path(__file__).with_name("description.md").read_text(encoding="utf-8")
    return {"mlflow.note.content": text, "mlflow.experimentKind": kind, TAG: describe_view()}


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
        ("What the networks see", 1, 560),
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
            *(_draw("IMAGE", keys, "section-2") for keys in IMAGES),
            *(_draw("LINE", (metric,), "section-3") for metric in OTHERS),
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
    } | {
        "LINE": LINES | {"selectedMetricKeys": list(metrics)},
        "IMAGE": {"imageKeys": list(metrics), "step": 0, "showRunParams": False},
        "BAR": {},
    }[kind]
