"""In which order the objects of several sets are made."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from sai3tui.config.model import PrepareStrategy


class SetOrder:
    """The position of every object in the making: `place(position)` is (set, index), each once.

    SEQUENTIAL: one set after the other. PARALLEL: by turns, one of each set that still has objects left. Positions are
    arithmetic: memory grows with the number of sets only.
    """

    __slots__ = ("_base", "_counts", "_members", "_starts", "total")

    def __init__(self, counts: Sequence[int], strategy: PrepareStrategy) -> None:
        self._counts = tuple(counts)
        self.total = sum(counts)
        self._members: list[tuple[int, ...]]
        if strategy is PrepareStrategy.SEQUENTIAL:
            self._members = [(number,) for number in range(len(counts))]
            self._base = [0] * len(counts)
            self._starts = [0, *accumulate(counts)][:-1]
            return
        # Between two sizes that sets have, the same sets take turns.
        levels = sorted({0, *counts})
        self._members = [tuple(n for n, count in enumerate(counts) if count > low) for low in levels[:-1]]
        self._base = levels[:-1]
        lengths = [
            (high - low) * len(members) for low, high, members in zip(levels, levels[1:], self._members, strict=False)
        ]
        self._starts = [0, *accumulate(lengths)][:-1]

    def place(self, position: int) -> tuple[int, int]:
        """The set and the index in it of what is made at `position`. Raises IndexError."""
        if not 0 <= position < self.total:
            raise IndexError(position)
        phase = bisect_right(self._starts, position) - 1
        members = self._members[phase]
        turn, which = divmod(position - self._starts[phase], len(members))
        return members[which], self._base[phase] + turn
