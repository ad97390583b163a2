"""The ladder of cures: a rung for each network that was trained, with figures that can be checked by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_comparison import EVALUATE

from cvd.evaluation.lesson import cures
from cvd.evaluation.measures import evaluate_variant, tabulate_predictions
from cvd.evaluation.statistics import newcombe_interval, tango_interval, wilson_interval
from cvd.runtime.params.loading import load_params
from cvd.vis.charts.cures import draw_cures
from cvd.vis.charts.themes import DARK, LIGHT

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
TRAINING = {"epochs": 8, "saved_epoch": 8, "precision": "float32", "parameters": 10}
VAL_LOSS = [0.7, 0.6, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
HISTORY = pd.DataFrame(
    {"epoch": range(1, 9), "loss": np.linspace(0.7, 0.1, 8), "accuracy": np.linspace(0.55, 1, 8), "val_loss": VAL_LOSS}
).assign(val_accuracy=[0.5, 0.6, 0.62, 0.64, 0.62, 0.6, 0.61, 0.6])
N = 100  # images of each split
RIGHT = {"baseline": (100, 60, 58), "small": (80, 64, 62), "augmented": (80, 76, 79), "transfer": (99, 97, 96)}
CLASSES = ("cat", "dog")


def make_results(right: dict[str, tuple[int, int, int]]) -> tuple[Any, Any, Any]:
    """Networks that get so many images of train, validation and test right: the first ones."""
    split = np.repeat(["train", "validation", "test"], N)
    rows = pd.DataFrame(
        {"path": [f"{CLASSES[i % 2]}/{i}.jpg" for i in range(3 * N)], "split": split, "label": np.arange(3 * N) % 2}
    )
    blocks, metrics, predictions = {}, {}, {}
    for name, counts in right.items():
        is_right = np.concatenate([np.arange(N) < n for n in counts])
        predictions[name] = tabulate_predictions(rows, np.where(is_right, 1.0, -1.0) * (2 * rows["label"] - 1))
        metrics[name] = evaluate_variant(predictions[name], HISTORY, TRAINING, **EVALUATE)
        blocks[name] = PARAMS.variants[name].model_dump()
    return blocks, metrics, predictions


def test_rungs_have_their_figures_and_intervals() -> None:
    table = cures.tabulate_cures(*make_results(RIGHT))
    assert table is not None
    assert tuple(table) == cures.COLUMNS
    assert table["variant"].tolist() == ["baseline", "stopped", "small", "augmented", "transfer"]
    small = table.set_index("variant").loc["small"]
    assert small["gap"] == pytest.approx(0.16)
    assert (small["gap_low"], small["gap_high"]) == newcombe_interval(80, 100, 64, 100)
    assert (small["test_low"], small["test_high"]) == tuple(map(float, wilson_interval(62, 100)))
    assert small["difference"] == pytest.approx(0.04)
    assert small["difference_low"] == float(tango_interval(0, 4, 100)[0])
    assert small["change"] == "width 32 to 8"
    stopped = table.set_index("variant").loc["stopped"]
    assert stopped["change"] == "epoch 3 of 8"
    assert stopped["validation"] == pytest.approx(0.62)
    assert stopped["train"] == pytest.approx(round(100 * HISTORY["accuracy"][2]) / 100)
    assert stopped[["test", "difference"]].isna().all()


def test_every_optional_cure_is_its_base_but_for_one_value() -> None:
    """Each alone, from the same start; both together are `augmented`, which keeps its best epoch."""
    blocks = {name: block.model_dump() for name, block in PARAMS.variants.items()}
    for name in ("too_small", "baseline_half", "small", "l2", "dropout_only", "augmented_only"):
        assert cures.describe_block(blocks["baseline"], blocks[name]).count(" to ") == 1, name
    assert set(cures.RUNGS) - {"stopped"} <= set(blocks)
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    trained = makefile.partition("cvd add --no-pictures ")[2].partition(" &&")[0].split()
    assert set(trained) == set(cures.RUNGS) - {"stopped", "baseline", "augmented", "transfer"}


def test_paragraphs_say_what_each_did() -> None:
    table = cures.tabulate_cures(*make_results(RIGHT))
    assert table is not None
    base, stopped, small, _, transfer = cures.describe_cures(table)
    assert base.endswith("Test accuracy 58.0%, gap 40.0 points: over-fitted.")
    assert "It takes validation accuracy from 60.0% to 62.0%, and the gap from 40.0 to 6.0 points" in stopped
    assert "from 58.0% to 62.0%, by +4.0 points" in small
    assert "a hint, not beyond luck" in small
    assert "more than luck" in transfer
    assert transfer.endswith("the gap from 40.0 to 2.0 points: over-fitted.")  # by its history
    text = cures.render_cures(table)
    assert text.count("\n- ") == 5
    assert "nan" not in text


def test_without_the_base_or_a_cure_there_is_no_ladder() -> None:
    for names in (["baseline"], ["small", "augmented"]):
        results = make_results({name: RIGHT[name] for name in names})
        assert cures.tabulate_cures(*results) is None


@pytest.mark.parametrize("tall", [False, True])
def test_figure_has_a_row_for_each_rung(tall: bool) -> None:
    table = cures.tabulate_cures(*make_results(RIGHT))
    assert table is not None
    for theme in (LIGHT, DARK):
        left, right = draw_cures(table, theme=theme, tall=tall).axes
        assert [text.get_text() for text in left.get_yticklabels()] == table["cure"].tolist()
        assert len(right.get_lines()) == 2 * len(table) + 1
