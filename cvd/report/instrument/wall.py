"""The test images as a wall: what every network says of each, its place on the map, whether its label is suspect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.special import expit

from cvd.data.images.manifest import choose_images
from cvd.evaluation.figures import read_table
from cvd.evaluation.measures import read_predictions, select_test
from cvd.evaluation.verdict import format_percent
from cvd.report.instrument.sprites import HeatSheet, Sheet, make_heat_sheet, make_photo_sheet
from cvd.runtime.vocabulary import add_article
from cvd.vis.explaining.heatmaps import read_heatmaps

MOST_IMAGES = 2000  # on the wall; what a network gets wrong comes first
MOST_BYTES = 2_700_000  # of their sheet
ORDERS = {
    "path": "as in the data",
    "mistake": "surest mistakes first",
    "doubt": "least certain first",
    "certain": "most certain first",
    "apart": "most disagreed on first",
    "suspect": "most suspect label first",
}


@dataclass(frozen=True)
class Image:
    """A test image on the wall."""

    path: str
    label: int
    shape: float  # width over height
    logits: dict[str, float]  # of each network
    point: tuple[float, ...] | None  # on the map, 0 to 1
    suspicion: float | None  # of a wrong label: 0 none, 1 sure
    place: str  # on the sheet, as CSS places it
    title: str  # what there is to say of it, in a line


@dataclass(frozen=True)
class Wall:
    """Test images, in the manifest's order, and what pictures there are of them."""

    images: list[Image]
    n_test: int
    variants: list[str]
    classes: Sequence[str]
    photos: Sheet
    heats: dict[str, HeatSheet]

    @property
    def n_mapped(self) -> int:
        """How many have a place on the map."""
        return sum(image.point is not None for image in self.images)

    def list_choices(self) -> dict[str, tuple[str, list[tuple[str, str]]]]:
        """List what the wall can be filtered, sorted and coloured by: a label, and options as (value, text)."""
        networks, classes = (
            [(name, name) for name in self.variants],
            [(str(i), name) for i, name in enumerate(self.classes)],
        )
        orders = dict(ORDERS)
        if not any(image.suspicion is not None for image in self.images):
            del orders["suspect"]
        choices = {
            "of": ("Network", [("any", "any"), *networks]),
            "right": ("Answer is", [("", "right or wrong"), ("1", "right"), ("0", "wrong")]),
            "truth": ("Image is", [("", "either"), *classes]),
            "said": ("Answer", [("", "either"), *classes]),
            "order": ("Order", list(orders.items())),
        }
        return choices | ({"colour": ("Map shows", [("truth", "what they are"), *networks])} if self.n_mapped else {})

    def list_data(self) -> dict[str, Any]:
        """List what the page's script needs, a column for each quantity."""
        images = self.images
        return {
            "classes": list(self.classes),
            "articles": [add_article(name) for name in self.classes],
            "variants": self.variants,
            "path": [image.path for image in images],
            "label": [image.label for image in images],
            "shape": [round(image.shape, 3) for image in images],
            "logit": {name: [round(image.logits[name], 3) for image in images] for name in self.variants},
            "suspicion": [None if image.suspicion is None else round(image.suspicion, 4) for image in images],
            "photos": {"columns": self.photos.columns, "rows": self.photos.rows},
            "heat": {
                name: {
                    "box": [round(100 * share, 2) for share in heat.box],
                    "columns": heat.sheet.columns,
                    "rows": heat.sheet.rows,
                    "images": heat.images,
                    "title": heat.title,
                }
                for name, heat in self.heats.items()
            },
        }


def build_wall(
    manifest: pd.DataFrame,
    variants: Sequence[str],
    *,
    classes: Sequence[str],
    images: Path,
    predictions: Path,
    heatmaps: Path,
    points: Path,
) -> Wall:
    """Build the wall from the files of the other stages; heat maps, points and suspicions where they are there.

    Raises:
        InputError: a file of predictions or of heat maps is missing or damaged.
    """
    tests = {name: select_test(read_predictions(predictions / f"{name}.csv")).set_index("path") for name in variants}
    paths = choose_paths(manifest, tests)
    rows = manifest.set_index("path").loc[paths]
    logits = {name: test["logit"].to_dict() for name, test in tests.items()}
    places = _read_columns(points, "map", ["x", "y"])
    suspicions = _read_columns(predictions / "labels.csv", "labels", ["score"])
    sheet = make_photo_sheet(images, paths, most_bytes=MOST_BYTES)
    shown = []
    columns = rows["label"].tolist(), rows["width"].tolist(), rows["height"].tolist()
    for number, (path, label, *size) in enumerate(zip(paths, *columns, strict=True)):
        answers = {name: float(by_path[path]) for name, by_path in logits.items()}
        place, title = sheet.place(number), describe_image(path, label, answers, classes)
        suspicion = 1 - suspicions[path][0] if path in suspicions else None
        shown.append(Image(path, label, size[0] / size[1], answers, places.get(path), suspicion, place, title))
    found = {name: heatmaps / f"{name}.npz" for name in variants if (heatmaps / f"{name}.npz").is_file()}
    heats = {name: make_heat_sheet(read_heatmaps(path, "named"), paths) for name, path in found.items()}
    n_test = len(next(iter(tests.values())))
    return Wall(shown, n_test, list(variants), classes, sheet, {name: heat for name, heat in heats.items() if heat})


def choose_paths(manifest: pd.DataFrame, tests: Mapping[str, pd.DataFrame], *, most: int = MOST_IMAGES) -> list[str]:
    """Choose up to `most` test images: those that a network gets wrong, up to half, then both classes in turn.

    `tests` are predictions by path. Images come in the manifest's order.
    """
    first, *_ = tests.values()
    order = [str(path) for path in first.index]
    if len(order) <= most:
        return order
    losses = pd.DataFrame({name: test["logit"] * (1 - 2 * test["label"]) for name, test in tests.items()}).max(axis=1)
    wrong = losses[losses >= 0].sort_values(ascending=False, kind="stable").head(most // 2)
    chosen = dict.fromkeys([*map(str, wrong.index), *choose_images(manifest, most)])
    kept = set(list(chosen)[:most])
    return [path for path in order if path in kept]


def describe_image(path: str, label: int, logits: Mapping[str, float], classes: Sequence[str]) -> str:
    """Say what an image is and what each network says of it: `cat.12, cat. baseline: dog 93%, wrong. ...`."""
    sentences = [f"{Path(path).stem}, {classes[label]}."]
    for name, logit in logits.items():
        share, said = format_percent(float(expit(abs(logit))), 0), int(logit > 0)
        sentences.append(f"{name}: {classes[said]} {share}{'' if said == label else ', wrong'}.")
    return " ".join(sentences)


def _read_columns(path: Path, stage: str, columns: list[str]) -> dict[str, tuple[float, ...]]:
    """Read numbers by path from a table; none where it is not there."""
    if not path.is_file():
        return {}
    table = read_table(path, stage, dtype={"path": str}, converters=dict.fromkeys(columns, float))
    return dict(zip(table["path"], table[columns].itertuples(index=False, name=None), strict=True))
