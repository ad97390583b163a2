"""The structure of a JPEG file: where it ends, and whether all of it is there.

The one rule for damaged JPEGs. A JPEG ends at the end-of-image marker (FFD9) after its last scan.
1. Bytes behind that marker are cut off (`trimmed`), also a camera's second picture. No pixel changes.
2. A missing marker is added (`closed`) when the scans before it are complete. No pixel changes.
3. Where a part of a scan is missing, the image is `truncated` and not used, also when a marker follows: decoders fill
   the missing part with grey, which no network should learn from. Not noticed: a loss within the last block, and the
   loss of a progressive JPEG's finest detail when a marker follows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0-7, SOI
_SOS, _EOI = 0xDA, 0xD9
_GREY = 128  # what libjpeg puts where data is missing
_EXTRA = (b"\x00" * 64, b"\x5a" * 64)

Decode = Callable[[bytes], NDArray[np.uint8]]


@dataclass(frozen=True)
class Structure:
    """`end`: the offset just behind the end-of-image marker, None when there is none; `n_scans`: scans before it."""

    end: int | None
    n_scans: int


def read_structure(data: bytes) -> Structure:
    """Walks the markers of the JPEG at the start of `data` (ITU T.81, annex B)."""
    at, n_scans = 2, 0
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return Structure(None, n_scans)
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == _EOI:
            return Structure(at + 2, n_scans)
        elif marker in _NO_LENGTH or marker == 0:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
            if marker == _SOS:
                n_scans += 1
                found = _SCAN_END.search(data, at)
                if not found:
                    return Structure(None, n_scans)
                at = found.start()


def drop_index(data: bytes) -> bytes:
    """A JPEG without its index of further pictures (the MPF segment, CIPA DC-007), for one whose others are cut off."""
    at = data.find(b"MPF\x00", 0, 2**17) - 4
    if at < 2 or data[at : at + 2] != b"\xff\xe2":
        return data
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def is_complete(data: bytes, decode: Decode) -> bool:
    """Whether the last scan of a JPEG without its end marker has all its data.

    Extra bytes behind a complete scan change nothing; behind an incomplete one they are read as pixels, and two
    different strings of them give different pixels.

    Args:
        data: a JPEG up to, not including, its end-of-image marker.
        decode: bytes -> (h, w) or (h, w, c) uint8.
    """
    # A cut inside a stuffed FF 00 or a marker leaves an FF that would swallow the first extra byte.
    body = data[:-1] if data.endswith(b"\xff") else data
    first, second = (decode(body + extra + b"\xff\xd9") for extra in _EXTRA)
    return np.array_equal(first, second)


def has_grey_end(pixels: NDArray[np.uint8]) -> bool:
    """Whether an image's end looks as libjpeg leaves it where data is missing: flat mid-grey; a cheap first sign.

    Args:
        pixels: (h, w) or (h, w, c) uint8, the last few rows and columns as decoded.
    """
    return bool((np.abs(pixels.astype(int) - _GREY) <= 2).all())
