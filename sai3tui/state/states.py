"""Two bits per object: what is known about each index of one slot of one object set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum

import numpy as np
import numpy.typing as npt

CHUNK = 64 * 1024
"""Objects per chunk; a chunk is 16 KiB, and what is written at once."""

CHUNK_BYTES = CHUNK // 4

Numbers = npt.NDArray[np.int64]

Mask = npt.NDArray[np.bool_]
"""`mask[s]`: whether objects in state s are meant."""


class ObjectState(IntEnum):
    """PLANNED: never touched. CREATING: a PUT may have happened. CREATED: it did. DELETED: created, then deleted."""

    PLANNED = 0
    CREATING = 1
    CREATED = 2
    DELETED = 3


def _uniform(state: ObjectState) -> npt.NDArray[np.uint8]:
    chunk = np.full(CHUNK_BYTES, state * 0b01010101, dtype=np.uint8)
    chunk.flags.writeable = False
    return chunk


_UNIFORM = {state * 0b01010101: _uniform(state) for state in ObjectState}
"""Chunks whose objects are all in one state, by the byte that they consist of."""


_IN_BYTE = np.arange(256, dtype=np.uint8)[:, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3
"""The states of the four objects in a byte, by what the byte is."""

_UNPACKED = np.ascontiguousarray(_IN_BYTE).view(np.uint32).reshape(-1)
"""The same as one number, so that a chunk is unpacked in one step."""

_COUNTS = (_IN_BYTE[:, :, None] == np.arange(4)).sum(axis=1)
"""How many objects of each state are in a byte."""


class SlotStates:
    """States of the `count` objects k = 0.. of a slot. Chunks that were never touched, and those whose objects are all
    in one state, take next to no memory."""

    def __init__(self, count: int, chunks: Mapping[int, bytes] | None = None) -> None:
        self.count = count
        self._chunks: dict[int, npt.NDArray[np.uint8]] = {}
        self._totals = np.zeros(4, dtype=np.int64)
        self._totals[ObjectState.PLANNED] = count
        self._dirty: set[int] = set()
        self._news: set[int] = set()
        for number, packed in (chunks or {}).items():
            if number * CHUNK >= count or len(packed) != CHUNK_BYTES:
                raise ValueError(f"chunk {number} with {len(packed)} bytes is not one of {count} objects")
            self._chunks[number] = _shared(np.frombuffer(packed, dtype=np.uint8).copy())
            found = self._count(number)
            self._totals += found
            self._totals[ObjectState.PLANNED] -= found.sum()

    def total(self, state: ObjectState) -> int:
        """How many objects are in `state`."""
        return int(self._totals[state])

    def get(self, k: int) -> ObjectState:
        number, within = divmod(k, CHUNK)
        packed = self._chunks.get(number)
        return ObjectState.PLANNED if packed is None else ObjectState(int(packed[within >> 2]) >> 2 * (within & 3) & 3)

    def chunks(self) -> Iterator[int]:
        """The numbers of all chunks, touched or not."""
        return iter(range(chunk_count(self.count)))

    def chunk(self, number: int) -> npt.NDArray[np.uint8]:
        """The states of the objects of one chunk, one byte each, as a copy."""
        size = min(CHUNK, self.count - number * CHUNK)
        packed = self._chunks.get(number)
        if packed is None:
            return np.zeros(size, dtype=np.uint8)
        return _UNPACKED[packed].view(np.uint8)[:size]

    def _whole(self, number: int) -> bool:
        """Whether a chunk has as many objects as there is room for."""
        return (number + 1) * CHUNK <= self.count

    def _count(self, number: int) -> npt.NDArray[np.int64]:
        """How many objects of a touched chunk are in each state."""
        if not self._whole(number):
            return np.bincount(self.chunk(number), minlength=4)
        counts: npt.NDArray[np.int64] = np.bincount(self._chunks[number], minlength=256) @ _COUNTS
        return counts

    def set(self, ks: Numbers, state: ObjectState) -> None:
        """Put the objects `ks`, which must be distinct, into `state`."""
        if not ks.size:
            return
        numbers = ks // CHUNK
        if numbers[0] == numbers[-1] and (numbers == numbers[0]).all():
            self._set_in_chunk(int(numbers[0]), ks % CHUNK, state)
            return
        for number in np.unique(numbers):
            self._set_in_chunk(int(number), ks[numbers == number] % CHUNK, state)

    def _set_in_chunk(self, number: int, within: Numbers, state: ObjectState) -> None:
        packed = self._chunks.get(number)
        if packed is None:
            packed = np.zeros(CHUNK_BYTES, dtype=np.uint8)
        elif not packed.flags.writeable:
            packed = packed.copy()
        for place in range(4):
            bytes_at = within[(within & 3) == place] >> 2
            if not bytes_at.size:
                continue
            old = packed[bytes_at]
            self._totals -= np.bincount((old >> 2 * place) & 3, minlength=4)
            self._totals[state] += bytes_at.size
            packed[bytes_at] = (old & (0xFF ^ 3 << 2 * place)) | (state << 2 * place)
        self._chunks[number] = _shared(packed)
        self._touched(number)

    def put(self, number: int, first: int, states: npt.NDArray[np.uint8], *, keep: bool = False) -> None:
        """Put the objects from place `first` of a chunk on into `states`, one byte each. `keep`: those that are
        PLANNED in `states` stay as they are."""
        before = self.chunk(number)
        after = before.copy()
        window = after[first : first + states.size]
        if keep:
            np.copyto(window, states, where=states != ObjectState.PLANNED)
        else:
            window[:] = states
        if (after == before).all():
            return
        self._totals += np.bincount(after, minlength=4) - np.bincount(before, minlength=4)
        whole = np.zeros(CHUNK, dtype=np.uint8)
        whole[: after.size] = after
        packed = np.zeros(CHUNK_BYTES, dtype=np.uint8)
        for place in range(4):
            packed |= np.left_shift(whole[place::4], 2 * place)
        self._chunks[number] = _shared(packed)
        self._touched(number)

    def _touched(self, number: int) -> None:
        self._dirty.add(number)
        self._news.add(number)

    def take_dirty(self) -> dict[int, bytes]:
        """The packed chunks that changed since the last call, for the disk."""
        dirty, self._dirty = self._dirty, set()
        return {number: self._chunks[number].tobytes() for number in dirty}

    def take_news(self) -> dict[int, bytes]:
        """The packed chunks that changed since the last call, for those who watch."""
        news, self._news = self._news, set()
        return {number: self._chunks[number].tobytes() for number in sorted(news)}

    def packed(self) -> dict[int, bytes]:
        """All chunks that were ever touched."""
        return {number: chunk.tobytes() for number, chunk in sorted(self._chunks.items())}

    def copy(self) -> SlotStates:
        return SlotStates(self.count, self.packed())

    def windows(self, first: int, end: int) -> Iterator[tuple[int, int, npt.NDArray[np.uint8]]]:
        """The objects `first` up to before `end`, chunk by chunk: (chunk, place of the first of them, their states).
        Chunks that were never touched are left out."""
        for number in range(first // CHUNK, chunk_count(min(end, self.count))):
            if number in self._chunks:
                low, high = max(0, first - number * CHUNK), min(CHUNK, end - number * CHUNK)
                yield number, low, self.chunk(number)[low:high]

    def count_in(self, first: int, end: int, wanted: Mask) -> int:
        """How many of the objects `first` up to before `end` are in a state s with `wanted[s]`."""
        end = min(end, self.count)
        touched = found = 0
        for _, _, states in self.windows(first, end):
            touched += states.size
            found += int(np.count_nonzero(wanted[states]))
        return found + (max(0, end - first) - touched if wanted[ObjectState.PLANNED] else 0)

    def where(self, wanted: Mask) -> Iterator[Numbers]:
        """The objects whose state s has `wanted[s]`, ascending, one array per chunk that has any. Each chunk is looked
        at when it is reached."""
        some = wanted[_IN_BYTE].any(axis=1)
        for number in self.chunks():
            packed = self._chunks.get(number)
            if packed is None or not self._whole(number):
                if packed is None and not wanted[ObjectState.PLANNED]:
                    continue
                found = np.flatnonzero(wanted[self.chunk(number)])
            else:
                # Bytes without any are most of them, when little is missing.
                places = np.flatnonzero(some[packed])
                row, within = np.nonzero(wanted[_IN_BYTE[packed[places]]])
                found = places[row] * 4 + within
            if found.size:
                yield found.astype(np.int64) + number * CHUNK


def _shared(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    uniform = _UNIFORM.get(int(packed[0]))
    return uniform if uniform is not None and packed[-1] == packed[0] and (packed == uniform).all() else packed


def chunk_count(count: int) -> int:
    """How many chunks `count` objects take."""
    return -(-count // CHUNK)


def wanted(*states: ObjectState) -> Mask:
    """A mask for `SlotStates.where`."""
    mask = np.zeros(4, dtype=np.bool_)
    mask[list(states)] = True
    return mask
