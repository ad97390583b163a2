"""The film of a training: a column for each epoch, a row for each image."""

from pathlib import Path

import cv2
import numpy as np

from cvd.vis.explaining.geometry import Heat, View
from cvd.vis.sheets import films

PHOTO = np.full((60, 90, 3), 120, np.uint8)


def make_moment(epoch: int, *, says_dog: bool) -> films.Moment:
    """The hottest place moves to the right, epoch by epoch; the other class has no heat."""
    heat = np.zeros((6, 30), np.float32)
    heat[2:4, epoch] = 1
    maps = {"dog": heat, "cat": np.zeros_like(heat)}
    labels = ["cat", "dog"] if says_dog else ["dog", "cat"]
    heats = [Heat(label, "conv", maps[label], "", "last", float(maps[label].sum())) for label in ("cat", "dog")]
    views = {name: View("baseline", 0.9, heats, labels, "HiResCAM") for name in ("one.jpg", "two.jpg")}
    return films.Moment(epoch, 0.5 + epoch / 100, 0.5, views)


def test_film_shows_the_heat_of_what_is_said_at_each_epoch(tmp_path: Path) -> None:
    moments = [make_moment(epoch, says_dog=epoch != 2) for epoch in range(1, 26)]
    images = {"one.jpg": PHOTO, "two.jpg": PHOTO}
    films.write_film(tmp_path, images, moments, caption="heat")
    names = {f"{image}-epoch-{epoch}.png" for image in ("one", "two") for epoch in range(1, 26)}
    assert {path.name for path in tmp_path.iterdir()} == {"baseline.png", *names}
    film = cv2.imread(str(tmp_path / "baseline.png"))
    rows = film.reshape(-1, 3)
    assert film.shape[1] < 12 * (films.FRAME + 20), "ten frames at most"
    assert len(np.unique(rows, axis=0)) > 10

    def find_hottest(number: int) -> float:
        """The place of the warmest column in a frame, as a share of its width; the heat is all colour."""
        shown = films.draw_film({"one.jpg": PHOTO}, moments[:3], title="", caption="").astype(int)
        left = films.MARGIN + number * (films.FRAME + films.SPACE)
        warmth = np.ptp(shown[164 : 164 + 90, left : left + films.FRAME], axis=2).sum(axis=0)
        return float(warmth.argmax() / films.FRAME) if warmth.any() else np.nan

    assert 0 < find_hottest(1) < find_hottest(3)
    assert np.isnan(find_hottest(2)), "at epoch 2 it said cat, which has no heat"


def test_without_epochs_nothing_is_written(tmp_path: Path) -> None:
    films.write_film(tmp_path / "epochs", {"one.jpg": PHOTO}, [], caption="heat")
    assert not list(tmp_path.iterdir())
