"""Which objects of a set an operation's pattern means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sai3tui.config.patterns import PathKind, compile_pattern, kind_of, matches_all
from sai3tui.workload.objects import ObjectSet
from sai3tui.workload.rng import below, combine

MAX_SCANNED = 2_000_000
"""Sets up to this size are looked through; of larger ones that match in part, matches are drawn by trying."""
MAX_TRIES = 10_000


class Selection:
    """The objects of a set that match a pattern.

    Knows without looking when all do. Otherwise the set is looked through once (at most `MAX_SCANNED` keys, 8 bytes
    for each that matches), or, beyond that, tried at random.
    """

    __slots__ = ("_count", "_indices", "_objects", "_regex", "covers_all")

    def __init__(self, pattern: str, objects: ObjectSet) -> None:
        self._objects = objects
        self._regex = compile_pattern(pattern)
        self._indices: NDArray[np.int64] | None = None
        templates = objects.resolved.templates()
        self.covers_all = all(matches_all(pattern, template) for template in templates)
        self._count = objects.count if self.covers_all else 0
        if self.covers_all:
            return
        if kind_of(pattern) is PathKind.EXACT:
            index = objects.index_of(pattern)
            self._indices = np.array([] if index is None else [index], dtype=np.int64)
        elif objects.count <= MAX_SCANNED:
            matched = (i for i in range(objects.count) if self._regex.fullmatch(objects.key(i)))
            self._indices = np.fromiter(matched, dtype=np.int64)
        else:
            self._count = objects.count
            return
        self._count = len(self._indices)

    def __len__(self) -> int:
        """How many objects match; for a large set that matches in part, an upper bound."""
        return self._count

    def __contains__(self, index: int) -> bool:
        if not 0 <= index < self._objects.count:
            return False
        return self.covers_all or self._regex.fullmatch(self._objects.key(index)) is not None

    def meets(self, other: Selection) -> bool:
        """Whether both may have an object in common; sure where sets were looked through or match as a whole."""
        if not self._count or not other._count:
            return False
        if self._indices is None or other._indices is None:
            return True
        return bool(np.isin(self._indices, other._indices, assume_unique=True).any())

    def nth(self, place: int) -> int:
        """The index of the object at `place`, from 0 below len(self). Raises IndexError.

        In a large set that matches in part, the nearest match that is found from there by trying.
        """
        if not 0 <= place < self._count:
            raise IndexError(place)
        if self.covers_all:
            return place
        if self._indices is not None:
            return int(self._indices[place])
        for attempt in range(MAX_TRIES):
            index = below(combine(place, attempt), self._count) if attempt else place
            if index in self:
                return index
        raise IndexError(place)

    def draw(self, bits: int) -> int:
        """The object that 64 random bits choose, all alike. Raises IndexError if none matches."""
        return self.nth(below(bits, self._count))
