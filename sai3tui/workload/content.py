"""What objects contain, as a function of dataset seed, generation, index and version: never of how it is read.

An object consists of chunks of 256 KiB. Each is a slice of one fixed pool of random words, XORed with a 64-bit key
that is a hash of the four and the chunk's number. Under any compressor that is as good as random, and it costs one
pass over memory. Where blocks are meant to be compressible, the rest of each 4 KiB block of the pool is zero, so that
the object has the key there over and over. Duplicates are whole objects: `dedup_factor` neighbours by index have the
same content, so duplicates never lie in one another's compression window.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sai3tui.config.model import Content, Fill
from sai3tui.workload.rng import MASK, combine, splitmix64, splitmix64_array

Words = NDArray[np.uint64]

CHUNK_BYTES: Final = 256 * 1024
BLOCK_BYTES: Final = 4096
POOL_BYTES: Final = 4 * 1024 * 1024
KEPT_BYTES: Final = 64 * 1024
"""Objects up to this size are made in a buffer that their connection keeps."""

_BLOCK_WORDS: Final = BLOCK_BYTES // 8
_XOR: Final = np.bitwise_xor
_STARTS: Final = POOL_BYTES // BLOCK_BYTES
_POOL_SALT: Final = 0x5A13
STAMP: Final = struct.Struct("<QQ")
_ZEROS: Final = memoryview(bytes(CHUNK_BYTES))
_INDEX_BITS: Final = 48
_INDEX_MASK: Final = (1 << _INDEX_BITS) - 1
_BLOCK_BITS: Final = 40


def stamp_of(generation: int, index: int, version: int, block: int) -> tuple[int, int]:
    """The two words that a block of 4 KiB starts with: generation (16 bits) and index (48), version (24) and block
    number (40)."""
    first = (generation & 0xFFFF) << _INDEX_BITS | index & _INDEX_MASK
    return first, (version & 0xFF_FFFF) << _BLOCK_BITS | block & ((1 << _BLOCK_BITS) - 1)


def read_stamp(block: bytes | memoryview) -> tuple[int, int, int, int]:
    """Generation, index, version and number of the block that starts with these bytes, if it is one of ours."""
    first, second = STAMP.unpack_from(block)
    return (
        first >> _INDEX_BITS,
        first & _INDEX_MASK,
        second >> _BLOCK_BITS,
        second & ((1 << _BLOCK_BITS) - 1),
    )


def make_pool(compress_factor: int) -> Words:
    """Random words, and as many again as one chunk has from the beginning; of each block, 1 / `compress_factor` is
    random and the rest zero."""
    pool = splitmix64_array(np.arange(POOL_BYTES // 8, dtype=np.uint64) + np.uint64(combine(_POOL_SALT)))
    if compress_factor > 1:
        pool.reshape(-1, _BLOCK_WORDS)[:, max(2, _BLOCK_WORDS // compress_factor) :] = 0
    return np.concatenate((pool, pool[: CHUNK_BYTES // 8]))


class ContentMaker:
    """Makes contents of one object set. Shares its pool with the makers that were made from the same `pools`."""

    __slots__ = ("_dedup", "_pool", "_seed", "_slices", "_states", "stamped", "zero")

    def __init__(self, content: Content, seed: int, pools: dict[int, Words] | None = None) -> None:
        pools = {} if pools is None else pools
        factor = max(1, content.compress_factor)
        self.zero = content.fill is Fill.ZERO
        if factor not in pools:
            pools[factor] = make_pool(factor)
        self._pool = pools[factor]
        self._dedup = max(1, content.dedup_factor)
        self._seed = seed
        self._states: dict[int, int] = {}
        self._slices: tuple[int, dict[int, Words]] = (0, {})
        """So many words long, slices of the pool by their start: making one costs more than using it. Replaced as a
        whole, because threads share this."""
        self.stamped = not self.zero and self._dedup == 1

    def key(self, generation: int, index: int, version: int) -> int:
        """The key of an object's first chunk."""
        state = self._states.get(generation)
        if state is None:
            state = self._states[generation] = combine(self._seed, generation)
        key = splitmix64(state ^ (index if self._dedup == 1 else index // self._dedup))
        return splitmix64(key ^ version) if version else key

    def fill(self, words: Words, length: int, key: int, chunk: int, word: Words) -> None:
        """Put the first `length` bytes (at most `CHUNK_BYTES`) of a chunk into `words`, without stamps. `word` is the
        caller's own, to work with: one word without a dimension, with which numpy has a third of the overhead that it
        has with an array of one."""
        count = (length + 7) >> 3
        if self.zero:
            words[:count] = 0
            return
        if chunk:
            key = splitmix64((key + chunk) & MASK)
        start = (key >> 32) % _STARTS * _BLOCK_WORDS
        piece = self.slices(count).get(start)
        if piece is None:
            piece = self.slice(start, count)
        word[()] = key
        _XOR(piece, word, words if words.size == count else words[:count])

    def slices(self, count: int) -> dict[int, Words]:
        """Slices of the pool so many words long, by their start, as far as they have been made."""
        long, slices = self._slices
        if count != long:
            slices = {}
            self._slices = count, slices
        return slices

    def slice(self, start: int, count: int) -> Words:
        """A slice of the pool, to keep."""
        made = self.slices(count)[start] = self._pool[start : start + count]
        return made


class Payload:
    """The body of one PUT after another on one connection (`storage.engine.Body`).

    Pieces of an object of at most `KEPT_BYTES` share a buffer that is overwritten by the next object; those of larger
    ones have memory of their own, which lives as long as somebody holds the piece.
    """

    __slots__ = (
        "_first",
        "_kept",
        "_key",
        "_key_word",
        "_maker",
        "_of",
        "_second",
        "_single",
        "_view",
        "_word",
        "_words",
        "_words_view",
        "size",
    )

    def __init__(self) -> None:
        self.size = 0
        self._kept: Words | None = None
        self._word: Words = np.empty((), dtype=np.uint64)
        self._key_word = self._word.reshape(1).data
        """The same memory: a memoryview takes a word in half the time."""
        self._words: Words = np.empty(0, dtype=np.uint64)
        """So much of what is kept as the last object took, and `_view` the same as bytes."""
        self._view = memoryview(b"")
        self._words_view = self._words.data
        self._single = False
        """What is kept has one stamp."""
        self._maker: ContentMaker | None = None
        self._of = (0, 0, 0)
        """Generation, index and version."""
        self._key = -1
        """The first chunk's; below zero until a piece is asked for, which is not always."""
        self._first = self._second = 0
        """The stamp of the first block."""

    def become(self, maker: ContentMaker, generation: int, index: int, version: int, size: int) -> None:
        """From now on, be the content of this object. `size` in bytes."""
        self._maker = maker
        self.size = size
        self._of = (generation, index, version)
        self._key = -1

    def _hash(self) -> int:
        """What depends on which object it is."""
        maker = self._maker
        assert maker is not None
        generation, index, version = self._of
        # As `stamp_of` has it.
        self._first = (generation & 0xFFFF) << _INDEX_BITS | index & _INDEX_MASK
        self._second = (version & 0xFF_FFFF) << _BLOCK_BITS
        self._key = maker.key(generation, index, version)
        return self._key

    def piece(self, offset: int, length: int) -> memoryview:
        """Bytes [offset, offset + length) of the object; `length` is at most 256 KiB."""
        maker = self._maker
        assert maker is not None
        if maker.zero:
            return _ZEROS[:length]
        if offset % CHUNK_BYTES:
            return self._crossing(offset, length)
        size = self.size
        if size <= KEPT_BYTES:
            view = self._view
            if view.nbytes != size:
                self._keep(size)
                view = self._view
            if self._single and maker.stamped:
                # What `_fill` does, without its calls: small objects are made tens of thousands of times a second.
                words = self._words
                key = self._key if self._key >= 0 else self._hash()
                start = (key >> 32) % _STARTS * _BLOCK_WORDS
                piece = maker.slices(words.size).get(start)
                if piece is None:
                    piece = maker.slice(start, words.size)
                self._key_word[0] = key
                _XOR(piece, self._word, words)
                stamped = self._words_view
                stamped[0] = self._first
                stamped[1] = self._second
            else:
                self._fill(self._words, size, 0)
            return view if length == size else view[:length]
        filled = min(CHUNK_BYTES, size - offset)
        words = np.empty((filled + 7 >> 3,), dtype=np.uint64)
        self._fill(words, filled, offset // CHUNK_BYTES)
        return words.data.cast("B")[:length]

    def _keep(self, size: int) -> None:
        count = size + 7 >> 3
        kept = self._kept
        if kept is None or kept.size < count:
            kept = self._kept = np.empty((max(count, _BLOCK_WORDS),), dtype=np.uint64)
        self._words = kept[:count]
        self._words_view = self._words.data
        self._view = self._words_view.cast("B")[:size] if size else memoryview(b"")
        self._single = STAMP.size <= size < BLOCK_BYTES + STAMP.size

    def chunk_into(self, words: Words, length: int, chunk: int) -> None:
        """Put the first `length` bytes of a chunk, the object's last one included, into `words`."""
        self._fill(words, length, chunk)

    def _crossing(self, offset: int, length: int) -> memoryview:
        """A piece that does not begin with a chunk."""
        end = offset + length
        made = bytearray()
        words = np.empty((CHUNK_BYTES // 8,), dtype=np.uint64)
        for chunk in range(offset // CHUNK_BYTES, (end - 1) // CHUNK_BYTES + 1):
            begin = chunk * CHUNK_BYTES
            self._fill(words, min(CHUNK_BYTES, self.size - begin), chunk)
            made += words.data.cast("B")[max(0, offset - begin) : min(CHUNK_BYTES, end - begin)]
        return memoryview(made)

    def _fill(self, words: Words, length: int, chunk: int) -> None:
        maker = self._maker
        assert maker is not None
        key = self._key if self._key >= 0 else self._hash()
        maker.fill(words, length, key, chunk, self._word)
        # A stamp is whole or missing, and only the object's end decides which.
        if not maker.stamped or length < STAMP.size:
            return
        first, second = self._first, self._second
        second += chunk * (CHUNK_BYTES // BLOCK_BYTES)
        blocks = (length - STAMP.size) // BLOCK_BYTES + 1
        if blocks == 1:
            words[0] = first
            words[1] = second
            return
        last = (blocks - 1) * _BLOCK_WORDS
        words[: last + 1 : _BLOCK_WORDS] = first
        words[1 : last + 2 : _BLOCK_WORDS] = np.arange(second, second + blocks, dtype=np.uint64)
