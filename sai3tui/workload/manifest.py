"""Objects that were found by a listing: names and sizes by place, in little memory, and as bytes to send."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import blake2b
from zlib import crc32

import numpy as np
import zstandard
from numpy.typing import NDArray

_HEAD = struct.Struct("<QQ")


class Sample:
    """At most `most` objects of a listing of any length, each as likely as any other.

    Whether an object stays follows from its key alone, so that the order of the listing and what else there is do not
    matter; each time that there are too many, about half of them go.
    """

    def __init__(self, most: int) -> None:
        self.seen = 0
        self._most = most
        self._below = 1 << 64
        self._kept: list[tuple[int, int, str, int]] = []

    def add(self, home: int, key: str, size: int) -> None:
        """One more object, at `home`. All of one home come before those of the next."""
        self.seen += 1
        place = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")
        if place < self._below:
            self._kept.append((place, home, key, size))
            while len(self._kept) > self._most:
                self._below >>= 1
                self._kept = [each for each in self._kept if each[0] < self._below]

    @property
    def whole(self) -> bool:
        """Whether everything was kept."""
        return len(self._kept) == self.seen

    def counts(self, homes: int) -> list[int]:
        """How many were kept of each home."""
        counts = [0] * homes
        for _, home, _, _ in self._kept:
            counts[home] += 1
        return counts

    def manifest(self) -> Manifest:
        """What was kept, in the order of the listing."""
        return Manifest.of((key, size) for _, _, key, size in self._kept)


class Manifest:
    """The objects by their place in the listing, as a `KeySpace`. Immutable; costs a key's bytes and 16 more."""

    __slots__ = ("_ends", "_names", "_sizes")

    def __init__(self, names: bytes, ends: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """`names` are all keys in UTF-8, one behind the other; key number i ends at `ends[i]`."""
        self._names = names
        self._ends = ends
        self._sizes = sizes

    @classmethod
    def of(cls, found: Iterable[tuple[str, int]]) -> Manifest:
        """The objects that a listing found: keys and sizes in bytes."""
        names = bytearray()
        ends: list[int] = []
        sizes: list[int] = []
        for key, size in found:
            names += key.encode()
            ends.append(len(names))
            sizes.append(size)
        return cls(bytes(names), np.array(ends, dtype=np.int64), np.array(sizes, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._ends)

    def key(self, index: int) -> str:
        return self._raw(index).decode()

    def size(self, index: int) -> int:
        return int(self._sizes[index])

    def hashes(self) -> NDArray[np.int64]:
        """32 bits for every object, from its key alone."""
        return np.fromiter((crc32(self._raw(index)) for index in range(len(self))), dtype=np.int64, count=len(self))

    def encode(self) -> bytes:
        """All of it, compressed."""
        lengths = np.diff(self._ends, prepend=0)
        parts = (_HEAD.pack(len(self), len(self._names)), lengths.tobytes(), self._sizes.tobytes(), self._names)
        return zstandard.ZstdCompressor(level=3).compress(b"".join(parts))

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The reverse of `encode`. Raises ValueError for anything else."""
        try:
            plain = zstandard.ZstdDecompressor().decompress(data)
            count, length = _HEAD.unpack_from(plain)
        except (zstandard.ZstdError, struct.error) as error:
            raise ValueError("no manifest") from error
        middle = _HEAD.size + 8 * count
        end = middle + 8 * count
        if len(plain) != end + length:
            raise ValueError("a manifest that is not whole")
        ends = np.cumsum(np.frombuffer(plain[_HEAD.size : middle], dtype=np.int64))
        return cls(plain[end:], ends, np.frombuffer(plain[middle:end], dtype=np.int64))

    def _raw(self, index: int) -> bytes:
        begin = int(self._ends[index - 1]) if index else 0
        return self._names[begin : int(self._ends[index])]
