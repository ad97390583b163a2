"""The augmentation preview: every picture and caption in its place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvd.vis.charts.previews import Preview, draw_previews
from cvd.vis.charts.themes import save_figure


def make_preview(n_copies: int, colour: int = 90, size: int = 20) -> Preview:
    copies = [np.full((size, size, 3), colour + k, np.uint8) for k in range(n_copies)]
    captions = [[f"turned {k}°", "mirrored"] for k in range(n_copies)]
    return Preview(f"test/cat/cat.{colour}.jpg", np.full((size, size, 3), 10, np.uint8), copies, captions)


@pytest.mark.parametrize("n_copies", [1, 7, 8, 20])
def test_draws_the_original_and_every_copy(n_copies: int) -> None:
    preview = make_preview(n_copies)
    figure = draw_previews([preview])
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == n_copies + 1
    for found, expected in zip(shown, [preview.image, *preview.copies], strict=True):
        np.testing.assert_array_equal(found, expected)
    texts = [text.get_text() for text in figure.texts]
    assert {"original", preview.name} <= set(texts)
    for caption in preview.captions:
        assert set(caption) <= set(texts)


def test_nothing_overlaps_or_leaves_the_page() -> None:
    figure = draw_previews([make_preview(11), make_preview(3, colour=120)])
    figure.canvas.draw()
    page = figure.bbox
    boxes = [axes.get_window_extent() for axes in figure.axes] + [text.get_window_extent() for text in figure.texts]
    for k, box in enumerate(boxes):
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
        for other in boxes[k + 1 :]:
            overlap_x = min(box.x1, other.x1) - max(box.x0, other.x0)
            overlap_y = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert min(overlap_x, overlap_y) <= 2  # pixels


def test_the_page_shows_the_pixels(tmp_path: Path) -> None:
    save_figure(draw_previews([make_preview(2)]), tmp_path / "page.png")
    page = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    for value in (10, 90, 91):
        assert (page == value).all(axis=-1).sum() > 200 * 200


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_figure(draw_previews([make_preview(3)]), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_long_name_keeps_its_end() -> None:
    preview = make_preview(1)
    long = Preview("test/" + "x" * 50 + "/cat.7.jpg", preview.image, preview.copies, preview.captions)
    texts = [text.get_text() for text in draw_previews([long]).texts]
    assert any(text.startswith("…") and text.endswith("/cat.7.jpg") for text in texts)


def test_refuses_an_empty_page() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        draw_previews([])
