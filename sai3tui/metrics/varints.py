"""Numbers in base 128, the lowest seven bits first, as protocol buffers and HdrHistogram write them."""

from __future__ import annotations

from collections.abc import Sequence

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


def read_varints(data: bytes, stops: Sequence[int]) -> tuple[npt.NDArray[np.uint64], list[int]]:
    """The inverse of `varints`: numbers, and for each of `stops` how many of them there are in so many first bytes.

    What exceeds 64 bits is cut off, as protocol buffers do it. Raises ValueError for a number that does not end, or not
    within ten bytes.
    """
    raw = np.frombuffer(data, dtype=np.uint8)
    if data.isascii():
        return raw.astype(np.uint64), list(stops)
    # Most numbers are of one byte: what is done for all of them is little.
    more = (raw >= 0x80).nonzero()[0]
    if more[-1] == len(raw) - 1:
        raise ValueError("a number is cut off")
    numbers = raw[raw < 0x80].astype(np.uint64)
    order = np.arange(len(more))
    which = more - order
    # Of which number each of these bytes is, and at which place in it: 0 where its first byte is.
    firsts = np.concatenate(([0], (which[1:] != which[:-1]).nonzero()[0] + 1))
    sizes = np.concatenate((firsts[1:], [len(more)])) - firsts
    if np.maximum.reduce(sizes) >= LONGEST:
        raise ValueError("a number has more than ten bytes")
    numbers[which[firsts]] <<= (7 * sizes).astype(np.uint64)
    places = (7 * (order - firsts.repeat(sizes))).astype(np.uint64)
    np.bitwise_or.at(numbers, which, (raw[more] & 0x7F).astype(np.uint64) << places)
    return numbers, (np.array(stops, dtype=np.intp) - more.searchsorted(stops)).tolist()
