"""Grids: standardisation, no live channel dropped, dead ones named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvd.vis.sheets import channels, grids


def test_channels_are_standardised_each_by_itself() -> None:
    activations = np.random.default_rng(0).normal(3, 5, (20, 20, 4)).astype(np.float32)
    activations[..., 1] *= 1000
    tiles, is_dead = grids.standardise_channels(activations)
    assert tiles.shape == (4, 20, 20)
    assert not is_dead.any()
    channel = activations[..., 2].astype(np.float64)
    expected = np.clip((channel - channel.mean()) / channel.std() * 64 + 128, 0, 255)
    assert np.abs(tiles[2] - expected).max() <= 1
    assert np.abs(tiles.mean(axis=(1, 2)) - 128).max() < 3


@pytest.mark.parametrize("value", [0.0, 3.7, -1e6, 1e-30])
def test_constant_channels_are_dead(value: float) -> None:
    activations = np.random.default_rng(0).normal(size=(5, 5, 3)).astype(np.float32)
    activations[..., 1] = value
    tiles, is_dead = grids.standardise_channels(activations)
    assert is_dead.tolist() == [False, True, False]
    assert (tiles[1] == 128).all()


@pytest.mark.parametrize("n_channels", [1, 3, 8, 32, 33, 96, 130, 1000, 1280])
@pytest.mark.parametrize("side", [1, 6, 200])
def test_every_channel_is_in_the_grid(n_channels: int, side: int) -> None:
    # Each channel is one flat tone of its own, so that the tones in the grid count the channels.
    tones = np.arange(n_channels) % 120 + 60
    tiles = np.tile(tones[:, None, None].astype(np.uint8), (1, side, side))
    columns = grids.plan_columns(n_channels)
    grid = grids.tile_channels(tiles, np.zeros(n_channels, bool), columns=columns, width=grids.WIDTH)
    rows = -(-n_channels // columns)
    pitch_y, pitch_x = (grid.shape[0] + grids.GAP) // rows, (grid.shape[1] + grids.GAP) // columns
    found = grid[::pitch_y, ::pitch_x].ravel()
    assert (found[:n_channels] == tones * (grids.N_COLOURS - 1) // 255).all()
    assert (found[n_channels:] == grids.WHITE).all()
    assert found.size == rows * columns


def test_dead_channels_are_left_out() -> None:
    tiles = np.full((2, 16, 16), 128, np.uint8)
    grid = grids.tile_channels(tiles, np.array([False, True]), columns=2, width=2 * 18)
    assert set(np.unique(grid[:, 18:])) == {grids.WHITE}
    assert set(np.unique(grid[:, :16])) == {128 * (grids.N_COLOURS - 1) // 255}


@pytest.mark.parametrize(("numbers", "text"), [([4], "4"), ([3, 5, 6, 7, 40], "3, 5-7, 40"), ([0, 1], "0-1")])
def test_numbers_are_listed_as_ranges(numbers: list[int], text: str) -> None:
    assert grids.list_numbers(np.array(numbers)) == text


def test_channels_are_ranked_by_contrast() -> None:
    activations = np.random.default_rng(0).normal(size=(9, 9, 5)) * [1, 0, 4, 2, 3] + [50, 7, 0, 0, 0]
    assert channels.rank_channels(activations).tolist() == [2, 4, 3, 0]


def test_a_sheet_of_channels_is_a_small_palette_png(tmp_path: Path) -> None:
    activations = np.random.default_rng(0).normal(size=(11, 11, 64)).astype(np.float32)
    activations[..., 5] = 0
    sheet = grids.draw_channels(activations, layer="conv1", caption="baseline   ·   test/cat/cat.3.jpg")
    grids.write_channels(sheet, tmp_path / "new" / "01_conv1.png")
    with Image.open(tmp_path / "new" / "01_conv1.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), grids.make_palette()[sheet])


def test_shapes_that_are_not_square() -> None:
    activations = np.random.default_rng(0).normal(size=(3, 40, 9)).astype(np.float32)
    assert grids.draw_channels(activations, layer="a/very/long/name" * 20, caption="x").shape[1] >= grids.LEAST_WIDTH


def test_an_overview_shows_at_most_twelve_layers() -> None:
    rng = np.random.default_rng(0)
    activations = {f"conv{i}": rng.normal(size=(8, 8, 3)) for i in range(30)}
    activations["conv0"][:] = 0
    sheet = channels.draw_overview(np.zeros((20, 30, 3), np.uint8), activations, title="baseline", caption="cat.3.jpg")
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] < 13 * (channels.TILE + 24) + 130


def test_an_image_has_a_sheet_for_each_layer_and_each_channel_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    activations = {"conv1": rng.normal(size=(8, 8, 3)), "block/conv2": rng.normal(size=(4, 4, 9))}
    settings: dict[str, Any] = {"variant": "baseline", "path": "test/cat/cat.3.jpg", "answer": "P(dog) 0.2"}
    channels.write_activations(tmp_path, np.zeros((20, 30, 3), np.uint8), activations, **settings, channels=[0, 7])
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    names = ["01_conv1", "01_conv1_0", "02_block_conv2", "02_block_conv2_0", "02_block_conv2_7"]
    assert written == ["test_cat_cat.3.png", *(f"test_cat_cat.3/{name}.png" for name in names)]
