"""A permutation of 0..n-1 that scatters neighbours, as arithmetic."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_GOLDEN = (math.sqrt(5) - 1) / 2
_EXACT = 2**31
"""Up to this count, products stay within 64 bits."""


class Spread:
    """`place(i)` is a bijection of [0, n). Any run of neighbours comes to lie evenly over the whole, because they are
    steps of about the golden ratio apart. Needs no memory."""

    __slots__ = ("_count", "_step")

    def __init__(self, count: int) -> None:
        """Raises ValueError unless `count` is positive."""
        if count < 1:
            raise ValueError("there is nothing to spread")
        self._count = count
        step = max(1, round(count * _GOLDEN))
        while math.gcd(step, count) != 1:
            step += 1
        self._step = step % count if count > 1 else 0

    def place(self, number: int) -> int:
        """Where `number` comes to lie. Raises IndexError."""
        if not 0 <= number < self._count:
            raise IndexError(number)
        return number * self._step % self._count

    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """`place` of every number; they must be in range."""
        if self._count <= _EXACT:
            return numbers * self._step % self._count
        step, count = self._step, self._count
        return np.array([number * step % count for number in numbers.tolist()], dtype=np.int64)
