"""cvd.data.intake.duplicates."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from photo_samples import encode, make_picture
from PIL import Image, ImageOps

from cvd.data.intake import duplicates
from cvd.data.intake.duplicates import find_copies, find_near_duplicates, hash_thumbnails, name_groups


def shrink(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BOX), np.uint8)


def recompress(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encode(image, quality=quality)))


def test_copies() -> None:
    assert find_copies(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]
    assert find_copies([]) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((100, 150), Image.Resampling.LANCZOS),
        lambda image: image.resize((60, 60)),
        lambda image: recompress(image, 30),
        ImageOps.mirror,
        lambda image: recompress(ImageOps.mirror(image).resize((90, 70)), 50),
        ImageOps.grayscale,
    ],
    ids=["resized", "squashed", "recompressed", "mirrored", "all", "grey"],
)
def test_the_same_photo_is_found(change) -> None:
    pictures = [make_picture(i, width=200, height=150) for i in range(30)]
    changed = [change(picture) for picture in pictures]
    thumbnails = np.stack([shrink(each) for each in pictures + changed])
    assert find_near_duplicates(thumbnails) == [(i, i + 30) for i in range(30)]


def test_different_pictures_are_not() -> None:
    thumbnails = np.stack([shrink(make_picture(i)) for i in range(500)])
    assert find_near_duplicates(thumbnails) == []


def test_plain_pictures_are_not() -> None:
    flat = [Image.new("RGB", (32, 32), (i, i, i)) for i in range(0, 250, 10)]
    ramps = [Image.linear_gradient("L").resize((32, 32)).point(lambda v, i=i: v // 40 + i) for i in range(0, 200, 10)]
    assert find_near_duplicates(np.stack([shrink(each) for each in flat + ramps])) == []


def test_another_colour_is_another_photo() -> None:
    pixels = np.asarray(make_picture(1)).astype(int)
    other = Image.fromarray((255 - (255 - pixels) // 3).astype(np.uint8))
    assert find_near_duplicates(np.stack([shrink(make_picture(1)), shrink(other)])) == []


def test_none_and_one() -> None:
    assert find_near_duplicates(np.zeros((0, 16, 16, 3), np.uint8)) == []
    assert find_near_duplicates(np.zeros((1, 16, 16, 3), np.uint8)) == []


def test_blocks_find_what_a_plain_loop_finds() -> None:
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (2500, 16, 16, 3), np.uint8)
    expected = []
    for i, j in zip(rng.permutation(2500)[:40:2].tolist(), rng.permutation(2500)[1:40:2].tolist(), strict=True):
        if i != j:
            thumbnails[j] = thumbnails[i][:, ::-1] if i % 2 else thumbnails[i]
    hashes = [hash_thumbnails(each) for each in (thumbnails, thumbnails[:, :, ::-1])]
    for i in range(2500):
        for other in hashes:
            for j in np.flatnonzero(np.bitwise_count(hashes[0][i] ^ other[i + 1 :]) == 0) + i + 1:
                expected.append((i, int(j)))
    assert find_near_duplicates(thumbnails) == sorted(set(expected))
    assert len(expected) >= 15


def test_groups_are_connected_and_named_by_the_least() -> None:
    names = ["d", "c", "b", "a", "e"]
    assert name_groups(names, [(0, 1), (1, 3)]) == ["a", "a", "b", "a", "e"]
    assert name_groups(names, [(3, 1), (0, 1)]) == ["a", "a", "b", "a", "e"]
    assert name_groups(names, []) == names


def test_the_quick_comparison_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever noisier copies, mirrored or not, on both sides of what counts as the same photo."""
    rng = np.random.default_rng(1)
    thumbnails = np.stack([shrink(make_picture(i)) for i in range(40)]).astype(int)
    noise = rng.normal(0, np.linspace(0, 60, 40)[:, None, None, None], thumbnails.shape)
    noisy = np.clip(thumbnails + noise, 0, 255)
    every = np.concatenate([thumbnails, noisy, noisy[:, :, ::-1]]).astype(np.uint8)
    found = find_near_duplicates(every)
    monkeypatch.setattr(duplicates, "_ROUNDING", 2)  # lets every pair through
    assert found == find_near_duplicates(list(every))
    assert 40 < len(found) < 120
