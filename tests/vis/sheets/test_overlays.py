"""Heat maps on photos: sizes, aspect ratio, empty maps."""

from types import ModuleType

import cv2
import numpy as np
import pytest

from cvd.vis.explaining.geometry import Heat, View, upsample_map
from cvd.vis.sheets import drawing, galleries, overlays, photos


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_an_upsampled_map_lies_on_the_whole_image() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 2
    big = upsample_map(heat, 40, 80)
    assert big.shape == (40, 80)
    assert (big >= 0).all()
    assert big[0, -1] == 2
    np.testing.assert_allclose(upsample_map(np.full((3, 3), 5.0), 10, 7), 5)


def test_a_map_is_shown_over_its_maximum_and_an_empty_one_stays_empty() -> None:
    np.testing.assert_allclose(overlays.normalise_map(np.array([[1.0, 4.0]])), [[0.25, 1]])
    np.testing.assert_allclose(overlays.normalise_map(np.array([[1.0, 4.0]]), largest=8.0), [[0.125, 0.5]])
    assert not overlays.normalise_map(np.zeros((3, 3)), largest=0.0).any()
    assert not overlays.normalise_map(np.zeros((3, 3))).any()
    assert overlays.normalise_map(np.array([[1e-40]])).max() <= 1


def test_an_overlay_keeps_size_and_leaves_the_cold_readable(photo: np.ndarray) -> None:
    heat = np.zeros((6, 9))
    heat[2, 2] = 1
    overlay = overlays.overlay_heat(photo, heat)
    assert overlay.shape == photo.shape
    assert overlay.dtype == np.uint8
    empty = overlays.overlay_heat(photo, np.zeros((6, 9)))
    np.testing.assert_array_equal(overlay[:, 50:], empty[:, 50:])  # only hot places are coloured
    assert np.abs(overlay[20:28, 20:28].astype(int) - empty[20:28, 20:28]).mean() > 10
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(empty, np.repeat(grey[..., None], 3, axis=2))  # all colour is heat


def record_scales(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[float | None]:
    """The values that `overlay_heat` is told to draw as hottest."""
    scales: list[float | None] = []
    draw = overlays.overlay_heat

    def record(image: np.ndarray, heat: np.ndarray, *, largest: float | None = None) -> np.ndarray:
        scales.append(largest)
        return draw(image, heat, largest=largest)

    monkeypatch.setattr(module, "overlay_heat", record)
    return scales


def test_the_classes_of_a_layer_share_their_scale(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, scales = overlays.overlay_heat, record_scales(monkeypatch, overlays)
    sizes = {("early", "dog"): 3.0, ("early", "cat"): 0.5, ("late", "dog"): 0.0098, ("late", "cat"): 0.856}
    heats = [Heat(f"{layer} {name}", layer, np.full((3, 3), size)) for (layer, name), size in sizes.items()]
    overlays.draw_comparison(photo, [View("baseline", 0.5, heats, ("cat", "dog"))], title="t", caption="c")
    assert scales[:4] == [3.0, 3.0, 0.856, 0.856]
    cold = draw(photo, np.zeros((3, 3)))
    faint = draw(photo, np.full((3, 3), 0.0098), largest=0.856)
    assert np.abs(faint.astype(int) - cold).mean() < 5 < np.abs(draw(photo, heats[2].map).astype(int) - cold).mean()


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (900, 20), (40, 40)])
def test_any_photo_can_be_drawn(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 255, np.uint8)
    heats = [Heat("dog", "conv4", np.zeros((3, 3))), Heat("cat", "conv4", np.ones((3, 3)))]
    row = View("baseline", 0.5, heats, ("cat", "dog"))
    for sheet in (
        overlays.draw_comparison(image, [row, row], title="x" * 300, caption="caption"),
        overlays.draw_heat(image, heats[0], title="cat.3.jpg", caption="baseline"),
        overlays.draw_heat(image, heats[1], title="cat.3.jpg", caption="baseline"),
        photos.draw_photo("a.jpg", image, heats, title="t", caption="c"),
    ):
        assert sheet.dtype == np.uint8
        assert sheet.shape[2] == 3


def test_huge_photos_are_drawn_smaller_in_their_aspect_ratio() -> None:
    assert overlays.limit_size(np.zeros((3000, 1500, 3), np.uint8)).shape == (2048, 1024, 3)
    small = np.zeros((30, 15, 3), np.uint8)
    assert overlays.limit_size(small) is small


def test_file_names() -> None:
    assert drawing.name_file("test/cat/cat.3.jpg") == "test_cat_cat.3"
    assert drawing.name_layer_file("block/conv.1") == "block_conv.1"


def test_long_lines_are_cut() -> None:
    text = drawing.shorten_text("a very long line of text", 80, 13)
    assert text.endswith("…")
    assert drawing.measure_text(text, 13) <= 80
    assert drawing.shorten_text("short", 80, 13) == "short"


def test_a_map_of_pixels_is_not_darkened_by_its_few_largest() -> None:
    heat = np.linspace(0, 1, 10_001)[:-1].reshape(100, 100)
    heat[0, 0] = 1000
    assert overlays.find_hottest([Heat("dog", "conv4", heat)]) == 1000
    (dog, lonely, empty) = (Heat("dog", "pixels", values) for values in (heat, np.zeros((20, 20)), np.zeros(4)))
    assert overlays.find_hottest([dog]) == pytest.approx(0.99, abs=1e-4)
    assert overlays.find_hottest([empty]) == overlays.find_hottest([empty, lonely]) == 0
    lonely.map[3, 3] = 5
    assert overlays.find_hottest([lonely]) == overlays.find_hottest([lonely, empty]) == 5


def test_a_class_with_a_pixel_or_two_does_not_darken_the_other(photo: np.ndarray) -> None:
    dog, cat = (Heat(name, "pixels", np.zeros((20, 20))) for name in ("dog", "cat"))
    dog.map[:10] = 1
    cat.map[3, 3] = 1000
    assert overlays.find_hottest([dog, cat]) == 1


def test_all_above_the_largest_value_shown_looks_alike(photo: np.ndarray) -> None:
    draw = overlays.overlay_heat
    np.testing.assert_array_equal(
        draw(photo, np.full((3, 3), 7.0), largest=2.0), draw(photo, np.full((3, 3), 2.0), largest=2.0)
    )


@pytest.mark.parametrize("kind", ["comparison", "photos", "gallery", "disagreements"])
@pytest.mark.parametrize(
    ("layer", "hottest", "words"), [("pixels", 0.99, "99th percentile"), ("conv4", 1000, "maximum")]
)
def test_every_sheet_of_heat_has_the_same_scale_and_its_bar_says_which(
    kind: str, layer: str, hottest: float, words: str, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"comparison": overlays, "photos": photos}.get(kind, galleries)
    scales, bars = record_scales(monkeypatch, module), []
    monkeypatch.setattr(module, "lay_bar", lambda *args, high, overlaid=False: bars.append(high))
    values = np.linspace(0, 1, 10_001)[:-1].reshape(100, 100)
    values[0, 0] = 1000
    heat = Heat("dog", layer, values)
    exhibit = galleries.Exhibit("dog.1.jpg", photo, "dog", 0.9, heat)
    {
        "comparison": lambda: overlays.draw_comparison(
            photo, [View("baseline", 0.5, [heat], ("cat", "dog"))], title="t", caption="c"
        ),
        "photos": lambda: photos.draw_photo("a.jpg", photo, [heat], title="t", caption="c"),
        "gallery": lambda: galleries.draw_gallery(
            [("Hits", [exhibit])], variant="baseline", heat="h", labels=("cat", "dog")
        ),
        "disagreements": lambda: galleries.draw_disagreements(
            [[exhibit]], variants=["baseline"], heat="h", labels=("cat", "dog")
        ),
    }[kind]()
    assert scales == [pytest.approx(hottest, abs=1e-4)]
    assert [high.split(" of ")[0] for high in bars] == [words + " above 0" * (layer == "pixels")]
    room = 2 * (overlays.TILE if kind in ("comparison", "photos") else galleries.TILE)
    assert drawing.measure_text(bars[0], drawing.SMALL) < room - 20
