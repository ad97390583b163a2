"""The structure of a JPEG file: where it ends, and whether all of it is there. The one rule for damaged JPEGs is here.

1. Bytes behind the end marker (FFD9) after the last scan are cut off (`trimmed`), also a camera's second picture.
2. A missing marker is added (`closed`) when the scans before it are complete. No pixel changes in either case.
3. Where a part of a scan is missing, the image is `truncated` and not used, with or without a marker. Decoders would
   fill the part with grey or blur. Not noticed: a loss within the last block, and flipped bits that still decode.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0-7, SOI
_SOS, _EOI = 0xDA, 0xD9
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # frames; the three others are tables
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_N_COEFFICIENTS = 64
_GREY, _NEARLY = 128, 16  # what libjpeg puts where data is missing
_EXTRA = (b"\x00" * 64, b"\x5a" * 64)

Decode = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Structure:
    """What the markers of a JPEG tell."""

    end: int | None  # the offset just behind the end-of-image marker, None without one
    n_scans: int  # scans before it
    has_all_scans: bool  # whether they bring every coefficient of every component to full precision


def read_structure(data: bytes) -> Structure:
    """Walk the markers of the JPEG at the start of `data` (ITU T.81, annex B)."""
    at, n_scans, end = 2, 0, None
    frame, is_progressive = b"", False
    levels: dict[tuple[int, int], int] = {}
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == _EOI:
            end = at + 2
            break
        elif marker in _NO_LENGTH or marker == 0:
            at += 2
        else:
            start, at = at + 4, at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
            if marker in _SOF:
                frame, is_progressive = data[start:at], marker in _PROGRESSIVE
            elif marker == _SOS:
                n_scans += 1
                _refine(levels, data[start:at], is_progressive)
                scan_end = _SCAN_END.search(data, at)
                if not scan_end:
                    break
                at = scan_end.start()
    needed = ((component, k) for component in frame[6::3] for k in range(_N_COEFFICIENTS))
    return Structure(end, n_scans, all(levels.get(place) == 0 for place in needed))


def _refine(levels: dict[tuple[int, int], int], header: bytes, is_progressive: bool) -> None:
    """Note what a scan brings: for each (component, coefficient) the lowest bit that is there; 0 is full precision.

    A scan that refines adds bit Al below bit Ah (ITU T.81, G.1.1.1.2). Without what brought Ah it brings nothing.
    """
    n = header[0] if header else 0
    if len(header) < 2 * n + 4:
        return
    first, last, approximation = header[2 * n + 1 : 2 * n + 4] if is_progressive else (0, _N_COEFFICIENTS - 1, 0)
    before, after = approximation >> 4, approximation & 15
    for component in header[1 : 2 * n + 1 : 2]:
        for k in range(first, min(last, _N_COEFFICIENTS - 1) + 1):
            if before == 0 or levels.get((component, k)) == before:
                levels[component, k] = after


def drop_index(data: bytes) -> bytes:
    """Drop a JPEG's index of further pictures (the MPF segment, CIPA DC-007)."""
    at = data.find(b"MPF\x00", 0, 2**17) - 4
    if at < 2 or data[at : at + 2] != b"\xff\xe2":
        return data
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def is_complete(data: bytes, decode: Decode) -> bool:
    """True when the last scan of a JPEG without its end marker (FFD9) has all its data.

    Extra bytes behind a complete scan change nothing. Behind an incomplete one they are read as pixels, and two
    different strings give different pixels. `decode` returns a digest of the pixels.
    """
    # A cut inside a stuffed FF 00 or a marker leaves an FF that would swallow the first extra byte.
    body = data[:-1] if data.endswith(b"\xff") else data
    first, second = (decode(body + extra + b"\xff\xd9") for extra in _EXTRA)
    return first == second


def has_grey_end(last: NDArray[np.uint8]) -> bool:
    """True when the last pixel, (1, 1) or (1, 1, c) uint8, is mid-grey, as libjpeg leaves missing data."""
    return bool((np.abs(last.astype(int) - _GREY) <= _NEARLY).all())
