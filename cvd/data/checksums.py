"""CRC-32 of what stands one after the other, from the parts' own."""

import zlib
from collections.abc import Iterable
from functools import lru_cache


def chain_crc32(checksums: Iterable[int], length: int) -> int:
    """zlib.crc32 of byte strings joined, each of `length` bytes, from the zlib.crc32 of each: they are not needed.

    One call of zlib.crc32 over all of them can so be compared with what is known of each.

    Source: zlib's crc32_combine. A CRC is linear over GF(2): crc32(a + b) is crc32(b) ^ shift(crc32(a)), where shift
    depends on b's length alone.
    """
    first, second, third, fourth = _tabulate_shift(length)
    total = 0
    for checksum in checksums:
        total = (
            checksum ^ first[total & 0xFF] ^ second[total >> 8 & 0xFF] ^ third[total >> 16 & 0xFF] ^ fourth[total >> 24]
        )
    return total


@lru_cache(maxsize=8)
def _tabulate_shift(length: int) -> list[list[int]]:
    """A table for each of a checksum's four bytes, lowest first: what its 256 values become after `length` bytes."""
    zeros = bytes(length)
    of_bits = [zlib.crc32(zeros, 1 << bit) ^ zlib.crc32(zeros) for bit in range(32)]
    tables = []
    for start in range(0, 32, 8):
        table = [0]
        for of_bit in of_bits[start : start + 8]:
            table += [value ^ of_bit for value in table]
        tables.append(table)
    return tables
