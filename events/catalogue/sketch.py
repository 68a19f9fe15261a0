"""Figures of a fixed size about values of any number: how many different ones (HyperLogLog), which are frequent (Misra-Gries).

Both can be added up seal by seal. A library for the first would be larger than this file (datasketches: 4 MB).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

INDEX_BITS: Final = 9
REGISTERS: Final = 1 << INDEX_BITS  # a byte each; the standard error is 1.04 / sqrt(512): 4.6 %
_REST_BITS: Final = 64 - INDEX_BITS
Registers = bytes | memoryview  # as psycopg2 reads them
_ALPHA: Final = 0.7213 / (1 + 1.079 / REGISTERS)


def digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=8).digest()


def add(registers: Registers | None, digests: Iterable[bytes]) -> bytes:
    """Returns the registers (None: of nothing yet) with the values of these digests among those seen."""
    found = bytearray(registers or REGISTERS)
    for one in digests:
        number = int.from_bytes(one)
        rank = _REST_BITS + 1 - (number >> INDEX_BITS).bit_length()
        place = number & (REGISTERS - 1)
        if rank > found[place]:
            found[place] = rank
    return bytes(found)


def estimate(stored: Registers | None) -> int:
    """How many different values were added, about."""
    if stored is None:
        return 0
    registers = bytes(stored)
    empty = registers.count(0)
    found = _ALPHA * REGISTERS * REGISTERS / sum(2.0**-rank for rank in registers)
    if found <= 2.5 * REGISTERS and empty:
        found = REGISTERS * math.log(REGISTERS / empty)
    return round(found)


def merged(kept: Mapping[str, int], more: Mapping[str, int], *, at_most: int) -> tuple[dict[str, int], bool]:
    """Returns the most frequent of both together, by value, and whether these are all there were.

    A count is never too high, and too low by at most a share of 1 / (at_most + 1) of all that were counted.
    """
    summed = Counter(kept)
    summed.update(more)
    ranked = sorted(summed.items(), key=lambda item: (-item[1], item[0]))
    if len(ranked) <= at_most:
        return dict(ranked), True
    least = ranked[at_most][1]
    return {value: count - least for value, count in ranked[:at_most] if count > least}, False
