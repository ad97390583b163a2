"""Sheets of filters: kernels, pictures and patches side by side, as they are."""

import numpy as np
import pytest

from cvd.vis.sheets import filters as sheets

RNG = np.random.default_rng(0)


def make_tiles(n: int, *, n_patches: int = 3, has_kernels: bool = False) -> sheets.Tiles:
    return sheets.Tiles(
        RNG.uniform(0, 255, (n, 32, 32, 3)).astype(np.float32),
        [f"{index}: 0.1, 1.20 × patch" for index in range(n)],
        np.arange(n) == 1,
        RNG.integers(0, 256, (n, n_patches, 32, 32, 3), dtype=np.uint8),
        RNG.normal(size=(n, 3, 3, 3) if has_kernels else (n, 0, 0, 3)).astype(np.float32),
    )


def test_filters_are_laid_in_rows() -> None:
    sheet = sheets.draw_filters(make_tiles(11), layer="conv2", n_filters=64, lines=["plain", "more"])
    small = (sheets.SIDE - 2 * sheets.SPACE) // 3
    width = sheets.SIDE + sheets.SPACE + small
    assert sheet.shape[0] == 58 + 2 * 22 + 3 * (sheets.SIDE + sheets.LINE) + 24
    assert sheet.shape[1] == 2 * 24 + 4 * (width + 3 * sheets.SPACE) - 3 * sheets.SPACE <= sheets.WIDTH


def test_a_block_holds_kernel_picture_and_patches() -> None:
    tiles = make_tiles(2, has_kernels=True)
    block = sheets._draw_block(tiles, 0, sheets.SIDE)
    side, small = sheets.SIDE, (sheets.SIDE - 2 * sheets.SPACE) // 3
    assert block.shape == (side, 2 * (side + sheets.SPACE) + small, 3)
    # The kernel's nine weights, each a flat square of a third of the side
    expected = sheets.colour_kernel(tiles.kernels[0])
    np.testing.assert_array_equal(block[side // 6 :: side // 3, side // 6 : side : side // 3], expected)
    # The middle of the picture, 6 times enlarged, inside its frame
    first = (32 - side // sheets.ENLARGED) // 2
    x = side + sheets.SPACE
    shown = block[3 : side : sheets.ENLARGED, x + 3 : x + side : sheets.ENLARGED]
    part = tiles.pictures[0][first : first + 32, first : first + 32].astype(np.uint8)
    np.testing.assert_array_equal(shown, part)


def test_a_kernel_is_grey_at_zero_and_white_at_its_largest_weight() -> None:
    kernel = np.zeros((3, 3, 3), np.float32)
    kernel[0, 0], kernel[2, 2] = 0.02, -0.01
    colours = sheets.colour_kernel(kernel)
    assert colours[0, 0].tolist() == [255] * 3
    assert colours[2, 2].tolist() == [64] * 3
    assert (colours[1] == 128).all()
    assert (sheets.colour_kernel(np.zeros((1, 1, 3))) == 128).all()


def test_only_pale_pictures_are_changed() -> None:
    strong = RNG.uniform(0, 255, (32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(sheets.raise_contrast(strong), strong.astype(np.uint8))
    white = np.full((32, 32, 3), 255, np.float32)
    assert (sheets.raise_contrast(white) == 255).all()
    faint = sheets.raise_contrast(RNG.normal(90, 12, (32, 32, 3)))
    assert faint.std() == pytest.approx(12 * 50 / 16, rel=0.05)
    assert faint.mean() == pytest.approx(90, abs=2)
    # No jump: of pictures whose deviations are alike, what is shown is alike.
    for deviation in (16, 50):
        below, above = (RNG.normal(128, near, (32, 32, 3)) for near in (0.98 * deviation, 1.02 * deviation))
        assert sheets.raise_contrast(below).std() == pytest.approx(sheets.raise_contrast(above).std(), rel=0.08)
