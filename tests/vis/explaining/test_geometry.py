"""Where a map's cells lie, against what the pixels do."""

import keras
import numpy as np
import pytest
from classifiers import build

from cvd.models.scratch.plain import build_plain
from cvd.vis.explaining.geometry import align_maps, locate_cells
from cvd.vis.explaining.methods import explain_images


def build_chain(*layers: keras.layers.Layer) -> keras.Model:
    inputs = x = keras.Input((41, 38, 1))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2])
def test_cells_lie_in_the_middle_of_the_pixels_that_they_answer_to(padding: str, stride: int) -> None:
    model = build_chain(
        keras.layers.ZeroPadding2D(((1, 0), (2, 1))),
        keras.layers.Conv2D(1, 5, strides=stride, padding=padding, kernel_initializer="ones"),
        keras.layers.AveragePooling2D(2),
        keras.layers.Conv2D(1, 3, dilation_rate=2, padding=padding, kernel_initializer="ones", name="last"),
    )
    rows, columns = locate_cells(model, "last")
    height, width = model.output.shape[1:3]
    i, j = height // 2, width // 2
    pixels = np.eye(41 * 38, dtype=np.float32).reshape(-1, 41, 38, 1)
    answers = model.predict(pixels, verbose=0, batch_size=256)[:, i, j, 0].reshape(41, 38)
    middle = [(answers.sum(axis=1 - axis) * np.arange(n)).sum() / answers.sum() for axis, n in ((0, 41), (1, 38))]
    assert middle == pytest.approx([rows.offset + rows.stride * i, columns.offset + columns.stride * j])


def test_the_plain_network_s_last_cells_keep_away_from_the_edge() -> None:
    rows, columns = locate_cells(build_plain(size_px=150, dropout=0.0, width=32, depth=4), "conv4")
    assert rows == columns == (18.5, 8.0)


def test_maps_are_moved_to_where_they_belong() -> None:
    model = build_plain(size_px=150, dropout=0.0, width=32, depth=4)
    maps = np.zeros((2, 15, 15), np.float32)
    maps[0, 2, 11] = 4
    aligned = align_maps(model, "conv4", maps)
    assert aligned.shape == (2, 150, 150)
    assert not aligned[1].any()
    rows, columns = np.nonzero(aligned[0] == aligned[0].max())
    assert (rows.mean(), columns.mean()) == pytest.approx((18.5 + 16, 18.5 + 88))


def test_maps_of_padded_networks_cover_the_image() -> None:
    model = build_chain(
        *(keras.layers.Conv2D(1, 3, strides=2, padding="same", name=f"conv{i}") for i in range(3)),
    )
    maps = np.zeros((1, 6, 5), np.float32)
    maps[0, 0, 0] = 1
    aligned = align_maps(model, "conv2", maps)
    # 41 rows are padded alike above and below; of 38 columns the cells stand a little to the right.
    np.testing.assert_allclose(align_maps(model, "conv2", np.ones_like(maps))[0, :, 10:30], 1, rtol=1e-6)
    rows, _ = np.nonzero(aligned[0] == aligned.max())
    assert (rows.min(), rows.max()) == (0, 2)


@pytest.mark.parametrize(("name", "layer"), [("residual", "last"), ("mobilenet", "out_relu")])
def test_branches_and_padding(name: str, layer: str) -> None:
    model = build(name)
    maps = explain_images(model, np.full((1, 33, 33, 3), 90, np.uint8), layer=layer)
    assert align_maps(model, layer, maps).shape == (1, 33, 33)


def test_pixels_stay_where_they_are() -> None:
    maps = np.random.default_rng(0).random((1, 33, 33)).astype(np.float32)
    np.testing.assert_array_equal(align_maps(build("plain"), "pixels", maps), maps)
