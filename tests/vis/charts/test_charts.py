"""Figures: they hold what they should, in both themes, without overlaps that a renderer can detect."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cvd.evaluation.overfitting import tabulate_curves
from cvd.vis.charts import curves as charts
from cvd.vis.charts import diagnostics, forests, searches, themes
from cvd.vis.charts import sizes as drawn_sizes
from cvd.vis.charts.themes import DARK, LIGHT

CLASSES = ("cat", "dog")


def make_curves(n: int) -> pd.DataFrame:
    epochs = np.arange(1, n + 1)
    return tabulate_curves(
        pd.DataFrame(
            {
                "epoch": epochs,
                "loss": 0.7 / epochs,
                "accuracy": 1 - 0.5 / epochs,
                "val_loss": 0.6 + 0.01 * epochs,
                "val_accuracy": 0.7,
            }
        )
    )


def make_pair(first: str, second: str, difference: float, p: float) -> dict[str, Any]:
    return {
        "first": first, "second": second, "difference": difference, "difference_low": difference - 0.03,
        "difference_high": difference + 0.04, "p_holm": p, "same_logits": False,
    }  # fmt: skip


def make_row(name: str, train: float) -> dict[str, Any]:
    return {
        "variant": name,
        "train_accuracy": train,
        "validation_accuracy": 0.7,
        "test_accuracy": 0.72,
        "accuracy_gap": train - 0.7,
    }


def read_texts(figure: Figure) -> str:
    figure.canvas.draw()
    return " | ".join(text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text")))


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("tall", [False, True])
def test_curves_have_common_axes_and_name_the_gap(theme: themes.Theme, tall: bool) -> None:
    curves = {"baseline": make_curves(20), "augmented": make_curves(40), "mine": make_curves(16)}
    figure = charts.draw_curves(curves, theme=theme, tall=tall)
    texts = read_texts(figure)
    for wanted in ("baseline", "augmented", "mine", "20 epochs", "40 epochs", "gap 27.5 points", "validation"):
        assert wanted in texts
    axes = [each for each in figure.axes if each.get_visible()]
    assert len(axes) == 6
    assert len({each.get_xlim() for each in axes}) == 1
    assert len({each.get_ylim() for each in axes}) == 2
    assert figure.get_facecolor()[:3] == pytest.approx([int(theme.paper[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def test_no_gap_is_written_without_a_sign() -> None:
    curves = make_curves(3).assign(loss_gap=-0.004)
    texts = read_texts(charts.draw_curves({"baseline": curves}))
    assert "gap 0.00" in texts


def test_many_variants_go_into_rows() -> None:
    curves = {f"v{i}": make_curves(3) for i in range(6)}
    figure = charts.draw_curves(curves)
    assert sum(axes.get_visible() for axes in figure.axes) == 12
    assert len(figure.axes) == 16


def test_a_far_longer_training_leaves_the_shorter_its_own_axis() -> None:
    figure = charts.draw_curves({"baseline": make_curves(30), "augmented": make_curves(160)})
    ends = [axes.get_xlim()[1] for axes in figure.axes]
    assert ends == [31, 161, 31, 161]
    assert len({axes.get_ylim() for axes in figure.axes}) == 2


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("tall", [False, True])
def test_sizes_have_common_axes_and_name_the_gap(theme: themes.Theme, tall: bool) -> None:
    sizes = pd.DataFrame(
        {
            "variant": ["baseline"] * 3 + ["transfer"], "n_images": [100, 200, 400, 400], "train": [1.0, 1, 1, 0.99],
            "validation": [0.6, 0.65, 0.7, 0.95], "test": [0.6, 0.62, 0.7, 0.96], "test_low": [0.5, 0.55, 0.65, 0.9],
            "test_high": [0.7, 0.72, 0.76, 0.99], "gap": [0.4, 0.35, 0.3, 0.04],
        }
    )  # fmt: skip
    figure = drawn_sizes.draw_sizes(sizes, theme=theme, tall=tall)
    texts = read_texts(figure)
    assert "gap 40.0 to 30.0 points" in texts
    assert "gap 4.0 points" in texts
    first, second = figure.axes
    assert (first.get_xlim(), first.get_ylim()) == (second.get_xlim(), second.get_ylim())
    for several in (figure, drawn_sizes.draw_sizes(sizes[:3], theme=theme, tall=tall)):
        several.canvas.draw()
        legend = several.legends[0].get_window_extent()
        assert 0 <= legend.x0 < legend.x1 <= several.bbox.width


@pytest.mark.parametrize("n", [1, 2, 3])
def test_legend_of_few_curves_fits(n: int) -> None:
    names = ["baseline", "augmented", "transfer"][:n]
    figure = charts.draw_curves(dict.fromkeys(names, make_curves(9)))
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width


def test_no_axis_goes_beyond_all_right() -> None:
    good = make_curves(9).assign(accuracy=0.99, val_accuracy=0.94)
    curves = charts.draw_curves({"transfer": good}).axes[0]
    rows = {"variant": "transfer", "n_images": [75, 600], "train": 1.0, "validation": 0.94, "test": 0.95, "gap": 0.06}
    sizes = drawn_sizes.draw_sizes(pd.DataFrame(rows).assign(test_low=0.92, test_high=0.97)).axes[0]
    for axes in (curves, sizes):
        low, high = axes.get_ylim()
        shown = [tick for tick in axes.get_yticks() if low <= tick <= high]
        assert len(shown) > 3
        assert max(shown) == pytest.approx(1)


def test_one_bad_epoch_does_not_flatten_the_rest() -> None:
    frame = make_curves(40)
    frame.loc[10, "val_loss"] = 1000.0
    figure = charts.draw_curves({"baseline": frame})
    assert figure.axes[1].get_ylim()[1] < 5


def test_differences_point_from_the_worse_to_the_better() -> None:
    pairs = [make_pair("a", "b", -0.05, 0.01), make_pair("a", "c", 0.02, 0.5), make_pair("b", "c", 0.0, 1.0)]
    texts = read_texts(forests.draw_differences(pairs))
    for wanted in ("a over b", "c over a", "b and c", "+5.0", "+2.0", "0.0"):
        assert wanted in texts


def test_overfitting_names_gaps_also_below_zero() -> None:
    texts = read_texts(forests.draw_overfitting([make_row("baseline", 0.99), make_row("augmented", 0.69)]))
    assert "gap 29.0 points" in texts
    assert "gap \N{MINUS SIGN}1.0 points" in texts


def test_diagnostics_of_one_and_of_five() -> None:
    roc = pd.DataFrame({"false_positive_rate": [0, 0.2, 1], "true_positive_rate": [0, 0.8, 1]})
    bins = pd.DataFrame(
        {
            "predicted": [0.1, 0.9],
            "observed": [0.2, 0.8],
            "observed_low": [0.1, 0.7],
            "observed_high": [0.3, 0.9],
            "n": [10, 30],
        }
    )
    for names in (["baseline"], ["a", "b", "c", "d", "e"]):
        assert "AUC 0.812" in read_texts(
            diagnostics.draw_roc(dict.fromkeys(names, roc), classes=CLASSES, aucs=dict.fromkeys(names, 0.812))
        )
        assert "0.100" in read_texts(
            diagnostics.draw_reliability(
                dict.fromkeys(names, bins), classes=CLASSES, eces=dict.fromkeys(names, 0.1), tall=True
            )
        )
    test = {
        "confusion": [[1500, 500], [0, 2000]],
        "auc": 0.9,
        "ece": 0.1,
        "classes": [{"label": name} for name in CLASSES],
    }
    test |= {"accuracy": 0.875, "accuracy_low": 0.86, "accuracy_high": 0.89}
    tables = {"roc": roc, "reliability": bins}
    sheet = diagnostics.draw_variant("baseline", {"test": test}, curves=make_curves(3), tables=tables, theme=DARK)  # type: ignore[typeddict-item]
    assert {"1,500", "500", "75%", "25%", "taken for cat", "87.5% right"} <= set(read_texts(sheet).split(" | "))


def test_colours_are_fixed_legible_and_apart() -> None:
    assert themes.choose_colours(["transfer", "baseline"]) == {
        name: themes.choose_colours(["baseline", "augmented", "tfrecord", "transfer"])[name]
        for name in ("transfer", "baseline")
    }
    names = ["baseline", "augmented", "tfrecord", "transfer", "a", "b", "c", "d"]
    for theme, raised in ((LIGHT, "#f6f7f9"), (DARK, "#1f2328")):
        colours = themes.choose_colours(names, theme)
        assert len(set(colours.values())) == 8
        for colour in (*colours.values(), theme.ink, theme.muted):
            assert themes.measure_contrast(colour, theme.paper) >= 4.5
            assert themes.measure_contrast(colour, raised) >= 4.5
    template = json.loads((Path(__file__).parents[3] / ".dvc/plots/curves.json").read_text())
    assert template["encoding"]["color"]["scale"]["range"] == list(themes.choose_colours(names).values())
    optional = ["residual", "fine_tuned", "small", "dropout_only"]
    assert len(set(themes.choose_colours(names[:4] + optional).values())) == 8
    small = {themes.choose_colours([*before, "small"])["small"] for before in ((), ("baseline",), ("residual", "mine"))}
    assert len(small) == 1, "the same in every figure"
    assert len(set(themes.choose_colours(["small", "random_backbone"]).values())) == 2
    assert themes.measure_contrast("#000000", "#ffffff") == pytest.approx(21)


# What an eye without cones for red, green or blue sees: Machado, Oliveira and Fernandes 2009, severity 1.
COLOUR_BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear sRGB


def measure_lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of an sRGB colour as an eye sees it."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(XYZ @ np.clip(seen @ linear, 1e-2, 1) / XYZ.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_are_told_apart_by_colour_blind_eyes(theme: themes.Theme, kind: str) -> None:
    """A distance of 2.3 is just noticeable (Mahy et al. 1994); four times as much is plain."""
    colours = themes.choose_colours(["baseline", "augmented", "tfrecord", "transfer"], theme).values()
    labs = [measure_lab(colour, np.array(COLOUR_BLINDNESS[kind])) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(labs, 2)) > 4 * 2.3


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        themes.save_figure(forests.draw_overfitting([make_row("baseline", 0.99)]), tmp_path / name, dpi=50)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("tall", [False, True])
def test_a_shared_layout_gives_the_same_pixels(tall: bool) -> None:
    curves = {name: make_curves(6) for name in ("baseline", "augmented")}
    draw = {
        "curves": lambda theme: charts.draw_curves(curves, theme=theme, tall=tall),
        "roc": lambda theme: diagnostics.draw_roc(
            {"a": pd.DataFrame({"false_positive_rate": [0.0, 1.0], "true_positive_rate": [0.0, 1.0]})},
            classes=CLASSES,
            aucs={"a": 0.5},
            theme=theme,
        ),
    }
    for name, make in draw.items():
        expected = themes.render_figure(make(LIGHT), dpi=80)
        dark, light = make(DARK), make(LIGHT)
        assert np.ptp(themes.render_figure(dark, dpi=80)) > 0
        themes.share_layout(light, dark)
        np.testing.assert_array_equal(themes.render_figure(light, dpi=80), expected, err_msg=name)


def make_search(n_widths: int) -> pd.DataFrame:
    rows = [
        {"label": f"width={width} dropout={dropout}", "parameters": 100 * width**2, "train": 0.9, "validation": 0.7}
        for width in 2 ** np.arange(1, n_widths + 1)
        for dropout in (0, 0.5)
    ]
    return pd.DataFrame(rows).assign(validation_low=0.65, validation_high=0.75, fault="")


def test_search_draws_a_line_for_what_does_not_change_the_size() -> None:
    table = make_search(3)
    assert searches.name_others(table).tolist() == ["dropout=0", "dropout=0.5"] * 3
    figure = searches.draw_search(table)
    sizes, ranking = figure.axes
    assert [line.get_label() for line in sizes.get_lines() if line.get_label()[0] != "_"] == [
        "dropout=0",
        "dropout=0.5",
    ]
    assert len(ranking.get_yticklabels()) == 6
    failed = table.assign(fault=["", *["loss is nan"] * 5])
    assert len(searches.draw_search(failed).axes) == 1, "one size alone has no curve"
    assert not searches.draw_search(failed.tail(2)).axes
