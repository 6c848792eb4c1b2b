"""Numbers in base 128, the lowest seven bits first, as protocol buffers and HdrHistogram write them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LONGEST = 10
"""Bytes of the largest number of 64 bits."""

_SHORT = tuple(bytes((number,)) for number in range(0x80))


def varint(number: int) -> bytes:
    """One of them."""
    if number < 0x80:
        return _SHORT[number]
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varints(numbers: npt.NDArray[np.uint64], longest: int = LONGEST) -> tuple[bytes, npt.NDArray[np.intp]]:
    """All of them, one after the other, and where each begins; the last place is where the last one ends.

    A number takes `longest` bytes at most, the last of which then holds all that is left: eight bits, if that is nine.
    """
    sizes = np.ones(len(numbers), dtype=np.intp)
    for column in range(1, longest):
        longer = numbers >= np.uint64(1 << 7 * column)
        if not longer.any():
            break
        sizes += longer
    places = np.concatenate(([0], sizes.cumsum()))
    written = np.empty(places[-1], dtype=np.uint8)
    at: npt.NDArray[np.intp] = places[:-1]
    left = numbers
    for _ in range(longest - 1):
        more = left >= 0x80
        written[at] = left.astype(np.uint8) & 0x7F | more.view(np.uint8) << 7
        at, left = at[more] + 1, left[more] >> np.uint64(7)
        if not len(at):
            break
    written[at] = left.astype(np.uint8)
    return written.tobytes(), places
