"""Which of many objects comes next: all alike, few very often, in order, or each once."""

from __future__ import annotations

import math
from typing import Protocol

from sai3tui.config.model import DEFAULT_ZIPF_EXPONENT, Popularity
from sai3tui.workload.rng import below, combine, splitmix64, uniform
from sai3tui.workload.spread import Spread

MAX_TRIES = 64
"""So often a rank is drawn again before the most popular one is taken; never in practice."""


class Chooser(Protocol):
    """Chooses places in [0, count)."""

    def next(self) -> int | None:
        """The next place; None when there will be none any more."""
        ...


class UniformChooser:
    """All places alike."""

    __slots__ = ("_count", "_state")

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._state = seed

    def next(self) -> int | None:
        self._state += 1
        return below(splitmix64(self._state), self._count)


class ZipfRanks:
    """Ranks 0..count-1 with a probability that falls as 1 / (rank + 1) ** exponent, exactly.

    By rejection from the inverse of the integral (Hoermann and Derflinger 1996): needs no table, whatever the count.
    """

    __slots__ = ("_all", "_count", "_exponent", "_first", "_near")

    def __init__(self, count: int, exponent: float) -> None:
        """Raises ValueError unless both are positive."""
        if count < 1 or not exponent > 0:
            raise ValueError("a Zipf distribution needs a count and an exponent above 0")
        self._count = count
        self._exponent = exponent
        self._first = self._integral(1.5) - 1.0
        self._all = self._integral(count + 0.5)
        self._near = 2.0 - self._inverse(self._integral(2.5) - self._height(2.0))

    def rank(self, bits: int) -> int:
        """The rank that 64 random bits choose."""
        for attempt in range(MAX_TRIES):
            point = self._all + uniform(splitmix64(bits ^ attempt)) * (self._first - self._all)
            x = self._inverse(point)
            k = min(max(int(x + 0.5), 1), self._count)
            if k - x <= self._near or point >= self._integral(k + 0.5) - self._height(k):
                return k - 1
        return 0

    def _height(self, x: float) -> float:
        return math.exp(-self._exponent * math.log(x))

    def _integral(self, x: float) -> float:
        """The integral of the height from 1 to `x`."""
        log = math.log(x)
        return _expm1_ratio((1.0 - self._exponent) * log) * log

    def _inverse(self, area: float) -> float:
        t = max(-1.0, area * (1.0 - self._exponent))
        return math.exp(_log1p_ratio(t) * area)


class ZipfChooser:
    """Few places very often. Which they are is the same for everybody; they lie scattered over the whole, so that no
    endpoint or directory has all of them."""

    __slots__ = ("_ranks", "_spread", "_state")

    def __init__(self, count: int, seed: int, exponent: float) -> None:
        self._ranks = ZipfRanks(count, exponent)
        self._spread = Spread(count)
        self._state = seed

    def next(self) -> int | None:
        self._state += 1
        return self._spread.place(self._ranks.rank(splitmix64(self._state)))


class InOrderChooser:
    """Place after place, together with the `parts` - 1 others who do the same: this one takes every `parts`-th from
    `part` on. At the end it begins again, or with `once` stops."""

    __slots__ = ("_count", "_next", "_once", "_part", "_parts")

    def __init__(self, count: int, part: int, parts: int, *, once: bool) -> None:
        if not 0 <= part < parts:
            raise ValueError(f"there is no part {part} of {parts}")
        self._count = count
        self._part = part
        self._parts = parts
        self._once = once
        self._next = part

    def next(self) -> int | None:
        if self._next >= self._count:
            if self._once or self._part >= self._count:
                return None
            self._next = self._part
        place = self._next
        self._next += self._parts
        return place


def chooser(
    popularity: Popularity,
    count: int,
    seed: int,
    part: int = 0,
    parts: int = 1,
    exponent: float = DEFAULT_ZIPF_EXPONENT,
) -> Chooser:
    """The chooser of one worker, number `part` of all `parts` workers of the fleet. Raises ValueError unless `count`
    is positive."""
    if count < 1:
        raise ValueError("there is nothing to choose from")
    own = combine(seed, part)
    match popularity:
        case Popularity.UNIFORM:
            return UniformChooser(count, own)
        case Popularity.ZIPF:
            return ZipfChooser(count, own, exponent)
        case Popularity.SEQUENTIAL:
            return InOrderChooser(count, part, parts, once=False)
        case Popularity.ONCE:
            return InOrderChooser(count, part, parts, once=True)


def _expm1_ratio(x: float) -> float:
    """(e**x - 1) / x, continued through 0."""
    return math.expm1(x) / x if abs(x) > 1e-8 else 1.0 + x / 2.0 * (1.0 + x / 3.0)


def _log1p_ratio(x: float) -> float:
    """log(1 + x) / x, continued through 0."""
    if x <= -1.0:
        return math.inf
    return math.log1p(x) / x if abs(x) > 1e-8 else 1.0 - x / 2.0 + x * x / 3.0
