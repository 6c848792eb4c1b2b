"""Which operation comes next: drawn in batches, so that one draw costs a list's pop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BATCH = 1024


class OpMix:
    """A weighted draw of entries."""

    __slots__ = ("_drawn", "_random", "_weights", "empty")

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        """Raises ValueError if a weight is negative, or all are 0."""
        self._weights = np.asarray(weights, dtype=np.float64)
        if (self._weights < 0).any() or not self._weights.sum() > 0:
            raise ValueError("weights must not be negative, and not all 0")
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._drawn: list[int] = []
        self.empty = False
        """All entries are exhausted; `next` must not be called then."""

    def next(self) -> int:
        """The number of an entry."""
        if not self._drawn:
            self._refill()
        return self._drawn.pop()

    def exhaust(self, entry: int) -> None:
        """Never draw this entry again."""
        self._weights[entry] = 0.0
        self.empty = not self._weights.any()
        self._drawn = [drawn for drawn in self._drawn if drawn != entry]

    def restore(self, entry: int, weight: float) -> None:
        """Draw an entry again that was exhausted."""
        self._weights[entry] = weight
        self.empty = not self._weights.any()
        self._drawn.clear()

    def _refill(self) -> None:
        edges = np.cumsum(self._weights)
        points = self._random.random(BATCH) * edges[-1]
        # With side="right" an entry of weight 0 has an interval without points.
        entries = np.minimum(np.searchsorted(edges, points, side="right"), int(np.flatnonzero(self._weights)[-1]))
        self._drawn = entries.tolist()
