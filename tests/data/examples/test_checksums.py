"""Checksums of joined byte strings, against zlib's own."""

import zlib

import numpy as np
import pytest

from cvd.data.examples.checksums import chain_crc32


@pytest.mark.parametrize("length", [1, 2, 7, 4096, 67_500])
@pytest.mark.parametrize("n", [0, 1, 2, 20])
def test_a_chain_is_the_checksum_of_all_bytes(n: int, length: int) -> None:
    parts = np.random.default_rng(n).integers(0, 256, (n, length), np.uint8)
    assert chain_crc32([zlib.crc32(part) for part in parts], length) == zlib.crc32(parts)


@pytest.mark.parametrize("byte", [0, 255])
def test_constant_bytes(byte: int) -> None:
    part = bytes([byte]) * 100
    assert chain_crc32(3 * [zlib.crc32(part)], 100) == zlib.crc32(3 * part)


def test_a_chain_tells_what_differs_and_what_changed_places() -> None:
    parts = np.random.default_rng(1).integers(0, 256, (3, 50), np.uint8)
    checksums = [zlib.crc32(part) for part in parts]
    assert chain_crc32(checksums[::-1], 50) != zlib.crc32(parts)
    parts[1, 7] ^= 1
    assert chain_crc32(checksums, 50) != zlib.crc32(parts)
