"""Comparing what was read with what must have been written: by making it again, piece by piece."""

from __future__ import annotations

import numpy as np

from sai3tui.errors import ErrorKind, Sai3Error
from sai3tui.workload.content import BLOCK_BYTES, CHUNK_BYTES, STAMP, ContentMaker, Payload, read_stamp

SHOWN_BYTES = 16


class CorruptError(Sai3Error):
    """An object does not contain what was written to it."""

    kind = ErrorKind.CORRUPT


class Verifier:
    """Compares one object after another (`storage.engine.Sink`). Raises CorruptError at the first byte that differs.

    With stamps, any version of the object is taken for right, because a reader cannot know which write came last; all
    of the object must be of that one. A part of an object is compared likewise, if it begins where a stamp stands, a
    multiple of 4 KiB; else it must be of the version that prepare writes.
    """

    __slots__ = (
        "_begin",
        "_chunk",
        "_end",
        "_expected",
        "_generation",
        "_index",
        "_length",
        "_maker",
        "_payload",
        "_size",
        "_version",
    )

    def __init__(self) -> None:
        self._expected = bytearray(CHUNK_BYTES)
        self._payload = Payload()
        self._maker: ContentMaker | None = None
        self._generation = self._index = 0
        self._version = 0
        self._size = 0
        self._begin = 0
        self._length = 0
        self._chunk = -1
        self._end = 0

    def become(
        self, maker: ContentMaker, generation: int, index: int, size: int, begin: int = 0, length: int = -1
    ) -> None:
        """From now on, expect this object of `size` bytes, or `length` of them from `begin` on."""
        self._maker = maker
        self._generation = generation
        self._index = index
        self._size = size
        self._begin = begin
        self._length = size - begin if length < 0 else length

    def begin(self) -> None:
        self._expect(0)

    def _expect(self, version: int) -> None:
        assert self._maker is not None
        self._version = version
        self._payload.become(self._maker, self._generation, self._index, version, self._size)
        self._chunk = -1
        self._end = 0

    def take(self, offset: int, data: memoryview) -> None:
        length = len(data)
        if offset + length > self._length:
            raise CorruptError(
                f"object {self._index} is longer than it was made: {self._size} bytes"
                if self._length == self._size
                else f"object {self._index}: more than the {self._length} bytes that were asked for",
                hint="something else writes to the place under test, or its layout has changed",
            )
        stamped = self._maker is not None and self._maker.stamped
        if stamped and offset == 0 and length >= STAMP.size and not self._begin % BLOCK_BYTES:
            generation, index, version, _ = read_stamp(data)
            if version and index == self._index and generation == self._generation & 0xFFFF:
                self._expect(version)
        at = 0
        while at < length:
            place = self._begin + offset + at
            chunk, within = divmod(place, CHUNK_BYTES)
            if chunk != self._chunk:
                self._make(chunk)
            taken = min(length - at, self._end - within)
            part = data[at : at + taken]
            if not self._expected.startswith(part, within):
                raise self._corrupt(place, within, part)
            at += taken

    def end(self, size: int) -> None:
        if size != self._length:
            what = f"object {self._index} has {size} bytes, {self._size} were written"
            if self._length != self._size:
                what = f"object {self._index} gave {size} of the {self._length} bytes from {self._begin} on"
            raise CorruptError(what)

    def _make(self, chunk: int) -> None:
        """Have `_expected` hold this chunk of the object."""
        self._end = min(CHUNK_BYTES, self._size - chunk * CHUNK_BYTES)
        words = np.frombuffer(self._expected, dtype=np.uint64)
        self._payload.chunk_into(words, self._end, chunk)
        self._chunk = chunk

    def _corrupt(self, place: int, within: int, part: memoryview) -> CorruptError:
        expected = self._expected[within : within + len(part)]
        differ = np.frombuffer(part, dtype=np.uint8) != np.frombuffer(expected, dtype=np.uint8)
        first = int(np.argmax(differ))
        wrong = int(np.count_nonzero(differ))
        shown = slice(first, first + SHOWN_BYTES)
        message = (
            f"object {self._index} is corrupt at offset {place + first}: "
            f"expected {expected[shown].hex()}, found {part[shown].hex()}; "
            f"{wrong} of {len(part)} bytes looked at differ"
        )
        return CorruptError(message, hint=self._whose(place, within, first, part))

    def _whose(self, place: int, within: int, first: int, part: memoryview) -> str:
        """Whose bytes were found, as far as the block that holds the first wrong one can tell."""
        maker = self._maker
        assert maker is not None
        offset = place + first
        block = offset // BLOCK_BYTES * BLOCK_BYTES
        begin = block - (place - within)  # where the block begins in the chunk
        # What came before `part` was right, so the stamp can be put together even if it came in two reads.
        found = bytes(self._expected[begin:within]) if begin < within else b""
        found += bytes(part[max(0, begin - within) : begin - within + BLOCK_BYTES])
        if not any(found[offset - block :]):
            return "zeros were found: a hole, or a block that was never written"
        if not maker.stamped or len(found) < STAMP.size:
            return "the bytes do not say whose they are"
        generation, index, version, number = read_stamp(found)
        claimed = self._claimed(maker, generation, index, version, number, len(found))
        if claimed != found:
            return "the bytes are those of no object of this set as it was written"
        own = index == self._index and generation == self._generation & 0xFFFF
        whose = "this object" if own else f"object {index} (generation {generation})"
        return f"the bytes are those of {whose}, version {version}, at its offset {number * BLOCK_BYTES}"

    @staticmethod
    def _claimed(maker: ContentMaker, generation: int, index: int, version: int, number: int, length: int) -> bytes:
        """What the object that a stamp names has in its block of that number."""
        other = Payload()
        other.become(maker, generation, index, version, (number + 1) * BLOCK_BYTES)
        return bytes(other.piece(number * BLOCK_BYTES, BLOCK_BYTES)[:length])
