"""CRC-32 of joined byte strings, from the CRC-32 of each."""

import zlib
from collections.abc import Iterable
from functools import lru_cache


def chain_crc32(checksums: Iterable[int], length: int) -> int:
    """Compute zlib.crc32 of joined byte strings, each of `length` bytes, from the zlib.crc32 (0 to 2**32 - 1) of each.

    Source: zlib's crc32_combine. A CRC is linear over GF(2): crc32(a + b) is crc32(b) ^ shift(crc32(a)), where shift
    depends on b's length alone.
    """
    byte_0, byte_1, byte_2, byte_3 = _tabulate_shift(length)
    total = 0
    for checksum in checksums:
        # shift(total), a table look-up for each of its four bytes
        shifted = byte_0[total & 255] ^ byte_1[total >> 8 & 255] ^ byte_2[total >> 16 & 255] ^ byte_3[total >> 24]
        total = shifted ^ checksum
    return total


@lru_cache(maxsize=8)
def _tabulate_shift(length: int) -> list[list[int]]:
    """Tabulate, for each of a checksum's 4 bytes, lowest first, its 256 values after `length` zero bytes."""
    zeros = bytes(length)
    # shift is linear: what each of the 32 bits alone becomes, and by xor all values of a byte
    of_bits = [zlib.crc32(zeros, 1 << bit) ^ zlib.crc32(zeros) for bit in range(32)]
    tables = []
    for start in range(0, 32, 8):
        table = [0]
        for of_bit in of_bits[start : start + 8]:
            table += [value ^ of_bit for value in table]
        tables.append(table)
    return tables
