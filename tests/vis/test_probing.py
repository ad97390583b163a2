"""Changes of images for probes, against what they must be; their table, figure and the network without convolution."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cvd.evaluation.lesson import probes
from cvd.evaluation.statistics import wilson_interval
from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import load_params, parse_params, parse_yaml
from cvd.vis.charts.probes import draw_probes
from cvd.vis.probing import changes

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (150, 150, 3), dtype=np.uint8)
PARAMS = Path(__file__).parents[2] / "params.yaml"
BACKGROUNDS = ["own", "grey", "another's", "animal removed"]


@pytest.mark.parametrize("name", changes.CHANGES)
def test_level_zero_changes_nothing(name: str) -> None:
    for number in range(4):
        np.testing.assert_array_equal(changes.CHANGES[name](IMAGE, 0, number), IMAGE)


def test_shift_goes_four_ways_and_repeats_the_edge() -> None:
    right, down, left, up = (changes.shift_image(IMAGE, 10, number) for number in range(4))
    np.testing.assert_array_equal(right[:, 10:], IMAGE[:, :-10])
    np.testing.assert_array_equal(right[:, :10], np.repeat(IMAGE[:, :1], 10, axis=1))
    np.testing.assert_array_equal(down[10:], IMAGE[:-10])
    np.testing.assert_array_equal(left[:, :-10], IMAGE[:, 10:])
    np.testing.assert_array_equal(up[:-10], IMAGE[10:])
    large = np.kron(IMAGE, np.ones((2, 2, 1), np.uint8))
    np.testing.assert_array_equal(changes.shift_image(large, 10, 0)[:, 20:], large[:, :-20])  # the same share


def test_turns_agree_with_numpy_s() -> None:
    np.testing.assert_allclose(changes.turn_image(IMAGE, 90, 0).astype(int), np.rot90(IMAGE), atol=1)
    np.testing.assert_allclose(changes.turn_image(IMAGE, 90, 1).astype(int), np.rot90(IMAGE, -1), atol=1)
    np.testing.assert_allclose(changes.turn_image(IMAGE, 180, 0).astype(int), IMAGE[::-1, ::-1], atol=1)


def test_brightness_is_added_and_taken_and_blur_has_its_width() -> None:
    grey = np.full((20, 20, 3), 100, np.uint8)
    assert (changes.brighten_image(grey, 0.2, 0) == 151).all()
    assert (changes.brighten_image(grey, 0.2, 1) == 49).all()
    assert (changes.brighten_image(grey, 0.9, 1) == 0).all()
    line = np.zeros((150, 150, 3), np.uint8)
    line[:, 75] = 255
    profile = changes.blur_image(line, 3, 0)[75, :, 0].astype(float)
    places = np.arange(150)
    middle = (profile * places).sum() / profile.sum()
    assert np.sqrt((profile * (places - middle) ** 2).sum() / profile.sum()) == pytest.approx(3, rel=0.05)


def make_scene() -> tuple[np.ndarray, np.ndarray]:
    """Two images, red and blue, each with a white square as its animal, and their masks."""
    images = np.zeros((2, 60, 60, 3), np.uint8)
    images[0, ..., 0], images[1, ..., 2] = 200, 200
    masks = np.zeros((2, 60, 60), bool)
    masks[0, 10:30, 10:30] = masks[1, 35:50, 35:50] = True
    images[masks] = 255
    return images, masks


def test_backgrounds_are_exchanged_and_animals_removed() -> None:
    images, masks = make_scene()
    changed = changes.change_backgrounds(images, masks)
    assert list(changed) == BACKGROUNDS
    np.testing.assert_array_equal(changed["own"], images)
    grey = changed["grey"]
    assert (grey[0, 15:25, 15:25] == 255).all()
    assert (grey[0, 40:, 40:] == changes.GREY).all()
    empty = changed["animal removed"]
    np.testing.assert_allclose(empty[0].astype(int), np.broadcast_to([200, 0, 0], (60, 60, 3)), atol=4)
    others = changed["another's"]
    assert (others[0, 15:25, 15:25] == 255).all(), "its own animal"
    np.testing.assert_allclose(others[0, 40:, 40:].astype(int), np.broadcast_to([0, 0, 200], (20, 20, 3)), atol=4)


def make_table() -> pd.DataFrame:
    rows = []
    for name, losses in {"baseline": (0, 10, 30), "dense": (0, 20, 40)}.items():
        for probe in ("shift_px", "blur_px"):
            for level, lost in zip((0, 5, 10), losses, strict=True):
                rows.append(probes.make_row(probe, level, name, np.arange(100) < 90 - lost))
        for kind in BACKGROUNDS:
            rows.append(probes.make_row("background", kind, name, np.arange(100) < 80))
    return pd.DataFrame(rows).sort_values("probe", kind="stable", ignore_index=True)


def test_table_sentences_and_figure() -> None:
    table = make_table()
    assert tuple(table) == probes.COLUMNS
    assert probes.measure_loss(table, "shift_px", "baseline") == pytest.approx(0.2)
    low, high = wilson_interval(80, 100)
    assert table[["low", "high"]].iloc[0].tolist() == [low, high]
    text = probes.render_probes(table)
    minus = "\N{MINUS SIGN}"
    said = f"pixels of shift, of 150, points on average: baseline {minus}20.0 from 90.0%, dense {minus}30.0 from 90.0%."
    assert said in text
    assert "| baseline | 90.0% | 80.0% | 60.0% |" in text
    figure = draw_probes(table)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == [
        probes.TITLES[name] for name in ("background", "blur_px", "shift_px")
    ]
    assert [text.get_text() for text in panels[0].get_xticklabels()] == [
        kind.replace(" ", "\n") for kind in BACKGROUNDS
    ]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("shift_px", [0], "greater than 0"),
        ("brightness_fraction", [1.5], "less than or equal to 1"),
        ("blur_px", [], ""),
    ],
)
def test_levels_out_of_range_are_refused(key: str, value: list[float], said: str) -> None:
    raw = parse_yaml(PARAMS.read_text())
    raw["probes"][key] = value
    with pytest.raises(InputError, match=rf"probes\.{key}.*{said}"):
        parse_params(raw)


def test_dense_network_has_as_many_parameters_as_the_plain_one_and_learns() -> None:
    import keras

    from cvd.models.scratch.dense import build_dense
    from cvd.models.scratch.plain import build_plain

    block = load_params(PARAMS).variants["dense"]
    size = {"width": block.width, "depth": block.depth}  # type: ignore[union-attr]
    model, plain = (
        build_dense(size_px=150, dropout=0.0, **size),
        build_plain(size_px=150, dropout=0.0, width=32, depth=4),
    )
    assert model.count_params() == 67_500 * 51 + 51 + 51 * 51 + 51 + 51 + 1 == 3_445_255
    assert model.count_params() == pytest.approx(plain.count_params(), rel=0.003)
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    keras.utils.set_random_seed(1)
    first = build_dense(size_px=64, dropout=0.0, width=8, depth=2)
    keras.utils.set_random_seed(1)
    second = build_dense(size_px=64, dropout=0.5, width=8, depth=2)
    for a, b in zip(first.get_weights(), second.get_weights()[: len(first.get_weights())], strict=True):
        np.testing.assert_array_equal(a, b)
