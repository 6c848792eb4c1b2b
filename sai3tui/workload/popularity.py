"""How often which of many objects is chosen: all alike, or few very often."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sai3tui.config.model import DEFAULT_ZIPF_EXPONENT, Popularity
from sai3tui.workload.spread import Spread

Places = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_TRIES = 64
"""So often a rank is drawn again before the most popular one is taken; never in practice."""

_NEARLY_ONE = 1e-8
"""An exponent this near to 1 is taken for 1, where the integral is a logarithm."""


class ZipfRanks:
    """Ranks 0..count-1 with a probability that falls as 1 / (rank + 1) ** exponent, exactly.

    By rejection from the inverse of the integral (Hoermann and Derflinger 1996): needs no table, whatever the count.
    """

    __slots__ = ("_all", "_count", "_exponent", "_first", "_near", "_rest")

    def __init__(self, count: int, exponent: float) -> None:
        """Raises ValueError unless both are positive."""
        if count < 1 or not exponent > 0:
            raise ValueError("a Zipf distribution needs a count and an exponent above 0")
        self._count = count
        self._exponent = exponent
        self._rest = 0.0 if abs(1.0 - exponent) < _NEARLY_ONE else 1.0 - exponent
        self._first = self._integral(1.5) - 1.0
        self._all = self._integral(count + 0.5)
        self._near = 2.0 - float(self._inverse(np.array(self._integral(2.5) - self._height(2.0))))

    def ranks(self, random: np.random.Generator, number: int) -> Places:
        """So many ranks."""
        found = np.zeros(number, dtype=np.int64)
        open_places = np.arange(number)
        for _ in range(MAX_TRIES):
            point = self._all + random.random(len(open_places)) * (self._first - self._all)
            x = self._inverse(point)
            k = np.clip(np.floor(x + 0.5), 1.0, float(self._count))
            kept = (k - x <= self._near) | (point >= self._integrals(k + 0.5) - np.power(k, -self._exponent))
            found[open_places] = k.astype(np.int64) - 1
            open_places = open_places[~kept]
            if not len(open_places):
                return found
        found[open_places] = 0
        return found

    def _height(self, x: float) -> float:
        return math.exp(-self._exponent * math.log(x))

    def _integral(self, x: float) -> float:
        """The integral of the height from 1 to `x`."""
        return float(self._integrals(np.array(x)))

    def _integrals(self, x: Floats) -> Floats:
        logs: Floats = np.log(x)
        return np.expm1(self._rest * logs) / self._rest if self._rest else logs

    def _inverse(self, areas: Floats) -> Floats:
        if not self._rest:
            return np.exp(areas)
        # Only rounding could bring the argument below -1.
        return np.exp(np.log1p(np.maximum(areas * self._rest, -1.0 + 1e-16)) / self._rest)


class Chooser:
    """Chooses places in [0, count), `count` above 0, by UNIFORM or ZIPF popularity.

    Which places are popular is the same for everybody; they lie scattered over the whole, so that no endpoint or
    directory has all of them.
    """

    __slots__ = ("_count", "_ranks", "_spread")

    def __init__(self, count: int, popularity: Popularity, exponent: float = DEFAULT_ZIPF_EXPONENT) -> None:
        self._count = count
        self._ranks = ZipfRanks(count, exponent) if popularity is Popularity.ZIPF else None
        self._spread = Spread(count)

    def choose(self, random: np.random.Generator, number: int) -> Places:
        """So many places."""
        if self._ranks is None:
            return random.integers(self._count, size=number)
        return self._spread.places(self._ranks.ranks(random, number))
