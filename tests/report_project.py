"""A small workspace as the stages leave it, and the report of it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from cvd.evaluation import measures
from cvd.evaluation.comparison import compare_variants, summarise_timing
from cvd.evaluation.lesson.sizes import COLUMNS
from cvd.evaluation.tables import tabulate_charts, write_table
from cvd.report import illustrations, results
from cvd.report import page as report_page
from cvd.report.instrument.wall import Wall, build_wall
from cvd.report.provenance import Trial
from cvd.runtime.files import render_json
from cvd.vis.explaining.geometry import Axis, Cells
from cvd.vis.explaining.heatmaps import HeatMaps, write_heatmaps

PARAMS = Path(__file__).parents[1] / "params.yaml"
EVALUATE = {"calibration_bins": 10, "onset_tolerance": 0.05, "notable_gap": 0.05, "learned_accuracy": 0.8}
VARIANTS = {"baseline": 0.6, "augmented": 1.0, "tfrecord": 0.6, "transfer": 2.2}
INTAKE = {
    "members": 130, "images": 126, "quarantined": 4, "masks": 0, "reasons": {"truncated": 3, "not an image": 1},
    "normalised": {"rotated": 2}, "near_duplicates": {"groups": 2, "images": 5, "of_both_classes": 1, "left_out": 1},
}  # fmt: skip
EXPLANATIONS = {
    "baseline": {
        "gradcam": {
            "pool3": {"animal_pointing": 0.77},
            "conv4": {
                "agreement": 0.52,
                "deletion": 0.5,
                "insertion": 0.6,
                "rank_correlation": -0.12,
                "animal_pointing": 0.61,
                "details": [{}],
            },
        },
        "hirescam": {"conv4": {"agreement": 1.0, "deletion": 0.2, "insertion": 0.9}},
        "chance": {"random": {"animal_pointing": 0.3, "deletion": 0.4, "insertion": 0.62}},
    }
}
PROVENANCE = {
    "code": {"commit": "0123456789abcdef", "date": "2026-01-01", "state": "exactly this commit"},
    "versions": {"python": "3.11"},
    "machine": {"processor": "CPU <of> sorts", "cores": "2", "system": "Linux"},
}
TRIAL = Trial(
    name="lilac-kite",
    baseline="fedcba9876",
    differences=["augment.rotation_degrees 40 → 15", "code: cvd/training"],
    verdict=["augmented: 82.5% (was 81.0%): +1.5 points, 95% −0.9 to +3.9: cannot be told from luck"],
    commands=[
        ("dvc exp apply lilac-kite", "its code"),
        ("git checkout fedcba9876", "or"),
        ("dvc exp run -S 'a=[0,7]'", ""),
    ],
)


def write_picture(path: Path, width: int = 300, height: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)


def write_heats(path: Path, images: list[str]) -> None:
    """Maps of 5 x 5 cells, hot in the upper left."""
    maps = np.zeros((len(images), 2, 5, 5), np.float32)
    maps[:, :, 0, 0] = 2
    cells = Cells(Axis(5.5, 12), Axis(5.5, 12), (60, 60))
    signs, probabilities = np.tile(np.int8([1, -1]), (len(images), 1)), np.full(len(images), 0.7)
    words = "baseline", "HiResCAM+", "logits", "a note", ("cat", "dog")
    path.parent.mkdir()
    write_heatmaps(path, named=HeatMaps(*words, images, probabilities, signs, {"conv4": maps}, {"conv4": cells}))


def fill_workspace(root: Path) -> None:
    """metrics/, predictions/, plots/, images and a manifest as the stages leave them."""
    (root / "metrics").mkdir()
    split = np.repeat(["test", "train", "validation"], 120)
    rows = pd.DataFrame({"path": [f"{i}.jpg" for i in range(360)], "split": split, "label": np.arange(360) % 2})
    rows.assign(width=40, height=30).to_csv(root / "manifest.csv", index=False)
    (root / "predictions").mkdir()
    for i in range(120):
        write_picture(root / "images" / f"{i}.jpg", 40, 30)
    points = np.random.default_rng(3).uniform(size=(120, 2)).round(3)
    pd.DataFrame({"path": rows["path"][:120], "x": points[:, 0], "y": points[:, 1]}).to_csv(
        root / "map.csv", index=False
    )
    epochs = np.arange(1, 9)
    history = pd.DataFrame(
        {"epoch": epochs, "loss": 0.7 / epochs, "accuracy": 0.9, "val_loss": 0.6 + 0.05 * epochs, "val_accuracy": 0.7}
    )
    training = {"epochs": 8, "saved_epoch": 8, "precision": "float32", "parameters": 3453121}
    timing = {"images_per_second": 190.0, "seconds": 60.0, "seconds_per_epoch": [7.0], "device": "CPU", "threads": 2}
    predictions, metrics = {}, {}
    for name, skill in VARIANTS.items():
        noise = np.random.default_rng(round(10 * skill)).normal(size=360)
        predictions[name] = frame = measures.tabulate_predictions(rows, (2 * rows["label"] - 1) * skill + noise)
        folders = frame["label"].map({0: "cat/", 1: "dog/"})
        named = frame.assign(path=folders + frame["path"])
        metrics[name] = measures.evaluate_variant(named, history, training, **EVALUATE)
        (root / "metrics" / f"{name}.json").write_text(render_json(metrics[name]))
        write_table(frame, root / f"predictions/{name}.csv")
    write_heats(root / "heatmaps/baseline.npz", list(rows["path"][:60]))
    charts = root / "plots/comparison"
    charts.mkdir(parents=True)
    tables = tabulate_charts(predictions, dict.fromkeys(predictions, history), calibration_bins=10)
    for kind, table in tables.items():
        write_table(table, charts / f"{kind}.csv")
    comparison = compare_variants(predictions, metrics, {}, n_bootstrap=200, seed=1)
    (root / "metrics/comparison.json").write_text(render_json(comparison))
    summary = summarise_timing(timing, best_epoch=1)
    (root / "metrics/timings.json").write_text(json.dumps(dict.fromkeys(VARIANTS, summary)))
    (root / "metrics/data.json").write_text(json.dumps(INTAKE))
    (root / "metrics/explanations").mkdir()
    for name, figures in EXPLANATIONS.items():
        (root / f"metrics/explanations/{name}.json").write_text(json.dumps(figures))
    (root / "quarantine.csv").write_text("source_name,reason,detail\nCat/666.jpg,truncated,<0 bytes>\n")
    sizes = {"variant": "baseline", "n_images": [15, 60, 120], "epochs": [64, 16, 8]}
    sizes |= {"train": 1.0, "validation": [0.6, 0.65, 0.7], "test": [0.55, 0.6, 0.72], "gap": [0.4, 0.35, 0.3]}
    table = pd.DataFrame(sizes).assign(test_low=[0.5, 0.55, 0.66], test_high=[0.6, 0.65, 0.78])
    table = table.assign(difference=[0.17, 0.12, 0], difference_low=[0.05, -0.02, 0], difference_high=[0.3, 0.25, 0])
    write_table(table[list(COLUMNS)], charts / "sizes.csv")
    for name in (
        "mistakes/baseline.png",
        "side_by_side/images/test-cat-1.png",
        "gradcam/baseline/deep.png",
        "activations/baseline/cat.png",
        "activations/small/left-from-earlier.png",
        "filters/transfer/conv1.png",
    ):
        write_picture(root / "plots" / name)


def build(workspace: Path, root: Path) -> Wall:
    """The wall of a workspace, with what else there is in `root`."""
    return build_wall(
        pd.read_csv(workspace / "manifest.csv"),
        list(VARIANTS),
        classes=("cat", "dog"),
        images=workspace / "images",
        predictions=workspace / "predictions",
        heatmaps=root / "heatmaps",
        points=root / "map.csv",
    )


def render(workspace: Path, root: Path, *, more: str = "") -> str:
    text = PARAMS.read_text(encoding="utf-8")
    found = results.read_results(root / "metrics", root / "plots", root / "quarantine.csv")
    return report_page.render_report(
        found,
        charts=illustrations.start_charts(found),
        manifest=pd.read_csv(workspace / "manifest.csv"),
        plots=root / "plots",
        provenance=PROVENANCE,
        wall=build(workspace, root),
        trial=TRIAL,
        params=yaml.safe_load(text),
        params_text=text + more,
    )
