"""cvd.data.intake.jpeg and its rule for damaged JPEGs, as cvd.data.intake.inspection applies it."""

import io
from itertools import pairwise

import numpy as np
import pytest
from photo_samples import encode, make_picture
from PIL import Image

from cvd.data.archives.formats import RefusedError
from cvd.data.intake.inspection import inspect_image
from cvd.data.intake.jpeg import read_structure

KINDS = [
    {"quality": 90},
    {"quality": 90, "progressive": True},
    {"quality": 30, "optimize": True},
    {"restart_marker_rows": 1},
]


@pytest.fixture(params=KINDS, ids=["baseline", "progressive", "optimised", "restarts"])
def data(request: pytest.FixtureRequest) -> bytes:
    return encode(make_picture(3, width=120, height=90), **request.param)


def read_pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_whole_one_passes_byte_for_byte(data: bytes) -> None:
    assert read_structure(data).end == len(data)
    intake = inspect_image(data)
    assert intake.data is data
    assert intake.words == ""


@pytest.mark.parametrize("tail", [b"\0", b"\n\n", b"garbage" * 99, b"\xff\xd8\xff\xe0" + b"x" * 99, b"\xff\xd9"])
def test_bytes_behind_the_end_are_cut_off(data: bytes, tail: bytes) -> None:
    intake = inspect_image(data + tail)
    assert intake.data == data
    assert intake.words == "trimmed"


@pytest.mark.parametrize("n_lost", [1, 2])
def test_a_missing_end_is_added(data: bytes, n_lost: int) -> None:
    intake = inspect_image(data[:-n_lost])
    assert intake.data == data
    assert intake.words == "closed"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("end", [b"", b"\xff", b"\xff\xd9"], ids=["open", "half", "closed"])
def test_a_missing_part_is_truncated(data: bytes, share: float, end: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        inspect_image(data[: int(len(data) * share)] + end)
    assert caught.value.reason == "truncated"


def test_lost_scans_are_truncated() -> None:
    data = encode(make_picture(3, width=120, height=90), progressive=True)
    starts = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert read_structure(data).has_all_scans
    for start in starts[1:]:  # each cut is clean: the scans before it are whole
        for tail in (b"", b"\xff\xd9"):
            with pytest.raises(RefusedError, match="truncated"):
                inspect_image(data[:start] + tail)


def test_any_lost_scan_is_truncated() -> None:
    """The first scans too, which later ones only refine: without the DC scan a decoder gives garbage."""
    data = encode(make_picture(3, width=120, height=90), progressive=True)
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    # A scan begins with the tables before it, behind the last scan's data.
    ends = [*(data.rindex(b"\xff\xc4", 0, at) if data.rfind(b"\xff\xc4", before, at) > 0 else at
              for before, at in pairwise(scans)), len(data) - 2]  # fmt: skip
    assert len(scans) == 10
    for start, end in zip(scans, ends, strict=True):
        cut = data[:start] + data[end:]
        assert read_structure(cut).n_scans == 9
        with pytest.raises(RefusedError, match="truncated"):
            inspect_image(cut)


def test_a_low_last_row_of_blocks_is_looked_at() -> None:
    data = encode(make_picture(4, width=64, height=50), quality=90)  # of the last row of blocks 2 pixels are seen
    for lost in range(60, 300, 40):
        with pytest.raises(RefusedError, match="truncated"):
            inspect_image(data[:-lost] + b"\xff\xd9")


def test_grey_pictures_are_not_taken_for_damaged_ones() -> None:
    data = encode(Image.new("RGB", (64, 64), (128, 128, 128)))
    assert inspect_image(data).data == data


def test_a_header_alone_is_truncated(data: bytes) -> None:
    for n in (3, 10, 100):
        with pytest.raises(RefusedError, match="truncated"):
            inspect_image(data[:n])


def test_many_scans_are_refused(data: bytes) -> None:
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00\x00"
    with pytest.raises(RefusedError, match="scans"):
        inspect_image(data[:-2] + scan * 300 + b"\xff\xd9")


def test_trimming_changes_no_pixel(data: bytes) -> None:
    assert np.array_equal(read_pixels(inspect_image(data + b"x").data), read_pixels(data))
