"""The drawn images: reproducible, with masks that fit, and classes that differ by anatomy only."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cvd.data.drawn import Drawing, draw, write_drawn_archive
from cvd.data.drawn.canvas import Texture, widen
from cvd.data.drawn.noise import open_streams
from cvd.data.drawn.picture import STREAMS, Composition, choose_layout, compose
from cvd.data.intake.duplicates import find_near_duplicates
from cvd.data.intake.inspection import inspect_image

N_PER_CLASS = 150
SEED = 5


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return [draw(label, index, SEED) for index in range(N_PER_CLASS) for label in ("cat", "dog")]


def test_same_arguments_give_same_bytes_in_any_order(drawings: list[Drawing]) -> None:
    np.random.seed(0)
    for position in (7, 0, 4):
        first = drawings[position]
        again = draw(first.label, position // 2, SEED)
        assert again.jpeg == first.jpeg
        assert np.array_equal(again.image, first.image)
        assert np.array_equal(again.animal, first.animal)
        assert np.array_equal(again.head, first.head)


def test_every_picture_is_another(drawings: list[Drawing]) -> None:
    assert len({d.jpeg for d in drawings}) == len(drawings)
    assert draw("cat", 0, SEED).jpeg != draw("cat", 0, SEED + 1).jpeg


def test_image_is_the_decoded_jpeg(drawings: list[Drawing]) -> None:
    for drawing in drawings[:6]:
        decoded = cv2.imdecode(np.frombuffer(drawing.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(drawing.image, decoded[..., ::-1])


def test_sizes_and_aspects_vary_within_bounds(drawings: list[Drawing]) -> None:
    sides = np.array([d.image.shape[:2] for d in drawings])
    assert sides.min() >= 200
    assert sides.max() <= 320
    aspects = sides[:, 1] / sides[:, 0]
    assert aspects.min() < 0.8
    assert aspects.max() > 1.25


def test_masks_are_binary_and_nested_and_of_fair_size(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        assert drawing.image.dtype == drawing.animal.dtype == drawing.head.dtype == np.uint8
        assert drawing.animal.shape == drawing.head.shape == drawing.image.shape[:2]
        assert set(np.unique(drawing.animal)) == set(np.unique(drawing.head)) == {0, 255}
        assert not np.any(drawing.head & ~drawing.animal)
    animal = np.array([(d.animal > 0).mean() for d in drawings])
    head = np.array([(d.head > 0).mean() for d in drawings])
    assert animal.min() > 0.08
    assert animal.max() < 0.75  # a quarter is always scene
    assert np.mean((animal > 0.15) & (animal < 0.6)) > 0.95
    assert head.min() > 0.03
    assert 0.1 < np.median(head) < 0.3


def _compose_twice(label: str, index: int) -> tuple[Composition, Composition]:
    compositions = []
    for with_animal in (True, False):
        streams = open_streams(label, index, SEED, STREAMS)
        layout = choose_layout(streams["layout"])
        compositions.append(compose(label, layout, streams, with_animal=with_animal))
    return compositions[0], compositions[1]


@pytest.mark.parametrize("label", ["cat", "dog"])
def test_masks_fit_the_animal(label: str) -> None:
    """Taking the animal away changes the picture inside its mask, and nowhere else."""
    for index in range(6):
        with_animal, without = _compose_twice(label, index)
        change = np.abs(with_animal.picture - without.picture).max(axis=0)
        assert change[with_animal.animal == 0].max() < 1e-6
        mask = (with_animal.animal > 0.5).astype(np.uint8)
        outside = cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0
        assert np.mean(change[outside] > 0.02) < 0.04  # thin tufts; fur veiled by something out of focus
        assert np.mean(change[mask > 0] > 0.02) > 0.95  # fur may resemble what it hides


@pytest.mark.parametrize("label", ["cat", "dog"])
def test_head_mask_is_where_the_head_is(label: str) -> None:
    """Of a head that nothing hides: about its centre, of its size, in one piece but for whiskers and tufts."""
    n_free = 0
    for index in range(20):
        streams = open_streams(label, index, SEED, STREAMS)
        layout = choose_layout(streams["layout"])
        composition = compose(label, layout, streams)
        head = (composition.head > 0.5).astype(np.uint8)
        (x, y), radius = layout.frame.origin_px, layout.frame.scale_px
        disc = cv2.circle(np.zeros_like(head), (round(x), round(y)), round(0.7 * radius), 1, cv2.FILLED) > 0
        if composition.animal[disc].min() < 0.99:  # something stands in front
            continue
        n_free += 1
        assert head[disc].all()
        assert 0.75 < head.sum() / (np.pi * radius**2) < 2.6  # the ears add up to one and a half skulls
        rows, columns = np.nonzero(head)
        assert np.hypot(columns.mean() - x, rows.mean() - y) < 0.6 * radius
        assert cv2.connectedComponentsWithStats(head)[2][1:, cv2.CC_STAT_AREA].max() > 0.95 * head.sum()
    assert n_free >= 5


def test_drawing_masks_are_those_of_the_composition(drawings: list[Drawing]) -> None:
    for index in range(3):
        composition, _ = _compose_twice("dog", index)
        assert np.array_equal(drawings[2 * index + 1].animal > 0, composition.animal > 0.5)


@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_part_of_a_texture_is_that_part_of_the_whole(is_mixed: bool) -> None:
    rng = np.random.default_rng(1)
    mix, strokes = rng.random((2, 9, 7), np.float32)
    main, change = widen((0.8, 0.5, 0.3)), widen((-0.4, 0.1, 0.2))
    texture = Texture(main, change, mix if is_mixed else None, strokes, shade=0.8)
    whole = (main + change * mix if is_mixed else main) * strokes * np.float32(0.8)
    np.testing.assert_allclose(texture.crop((slice(2, 9), slice(1, 4))), whole[:, 2:9, 1:4], rtol=1e-6)
    assert texture.darken(1.0).measure_brightness() == pytest.approx(whole.mean() / 0.8, rel=1e-6)


def _describe(drawing: Drawing) -> dict[str, list[float]]:
    """What must not tell cats from dogs."""
    histograms = [np.histogram(drawing.image[..., c], 8, (0, 256))[0] / drawing.animal.size for c in range(3)]
    grey = cv2.cvtColor(drawing.image, cv2.COLOR_RGB2GRAY)
    return {
        "colour histograms": [float(share) for histogram in histograms for share in histogram],
        "brightness": [float(grey.mean())],
        "contrast": [float(grey.std())],
        "file size": [float(len(drawing.jpeg)), len(drawing.jpeg) / grey.size],
        "image size": [float(side) for side in grey.shape],
        "edge density": [float((cv2.Canny(grey, low, 2 * low) > 0).mean()) for low in (40, 80)],
    }


def _score(features: np.ndarray, labels: np.ndarray) -> float:
    """Cross-validated accuracy of a linear classifier."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(8, shuffle=True, random_state=0)
    return float(cross_val_score(classifier, features, labels, cv=folds).mean())


@pytest.fixture(scope="module")
def statistics(drawings: list[Drawing]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each statistic, (n, k), and the labels, (n,)."""
    described = [_describe(drawing) for drawing in drawings]
    labels = np.array([drawing.label == "dog" for drawing in drawings])
    return {name: np.array([each[name] for each in described]) for name in described[0]}, labels


@pytest.mark.parametrize(
    "names",
    ["colour histograms", "brightness", "contrast", "file size", "image size", "edge density", "all"],
)
def test_simple_statistics_do_not_tell_the_classes_apart(
    statistics: tuple[dict[str, np.ndarray], np.ndarray], names: str
) -> None:
    """Stays within three standard deviations of chance: the error of n guesses is sqrt(0.25 / n), so .587 for 300."""
    values, labels = statistics
    features = np.concatenate(list(values.values()), axis=1) if names == "all" else values[names]
    assert _score(features, labels) < 0.5 + 3 * np.sqrt(0.25 / len(labels))


def test_a_shortcut_would_be_found(statistics: tuple[dict[str, np.ndarray], np.ndarray]) -> None:
    """The classifier is able: dogs brighter by a standard deviation are found among all statistics."""
    values, labels = statistics
    brighter = values["brightness"] + values["brightness"].std() * labels[:, None]
    features = np.concatenate(list((values | {"brightness": brighter}).values()), axis=1)
    assert _score(features, labels) > 0.5 + 3 * np.sqrt(0.25 / len(labels))


def test_archive_repeats_byte_for_byte_and_holds_the_drawings(tmp_path: Path, drawings: list[Drawing]) -> None:
    counted: list[int] = []

    def progress(images: Iterable[object]) -> Iterator[object]:
        for image in images:
            counted.append(1)
            yield image

    write_drawn_archive(tmp_path / "a.zip", n_per_class=3, seed=SEED, progress=progress)
    write_drawn_archive(tmp_path / "b.zip", n_per_class=3, seed=SEED)
    data = (tmp_path / "a.zip").read_bytes()
    assert data == (tmp_path / "b.zip").read_bytes()
    assert len(counted) == 6
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == 18
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert archive.read("dog/dog.2.jpg") == drawings[5].jpeg
        mask = cv2.imdecode(np.frombuffer(archive.read("masks/head/dog.2.png"), np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, drawings[5].head)
        assert archive.testzip() is None


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'bird'"):
        draw("bird", 0, 0)
    with pytest.raises(ValueError, match="index=-1"):
        draw("cat", -1, 0)
    with pytest.raises(ValueError, match="n_per_class=0"):
        write_drawn_archive(tmp_path / "x.zip", n_per_class=0, seed=0)


def test_leaked_images_are_there_again_and_recognised(tmp_path: Path) -> None:
    write_drawn_archive(tmp_path / "plain.zip", n_per_class=10, seed=SEED)
    write_drawn_archive(tmp_path / "leaky.zip", n_per_class=10, seed=SEED, leak=0.5)
    with zipfile.ZipFile(tmp_path / "plain.zip") as plain, zipfile.ZipFile(tmp_path / "leaky.zip") as leaky:
        added = [name for name in leaky.namelist() if name not in plain.namelist()]
        assert added == [f"{label}/copy-of-{label}.{i}.jpg" for label in ("cat", "dog") for i in range(1, 10, 2)]
        assert all(leaky.read(name) == plain.read(name) for name in plain.namelist())
        photos = [name for name in leaky.namelist() if name.endswith(".jpg")]
        thumbnails = [inspect_image(leaky.read(name)).thumbnail for name in photos]
    found = {(photos[j], photos[i]) for i, j in find_near_duplicates(thumbnails)}
    assert found == {(name, name.replace("copy-of-", "")) for name in added}
