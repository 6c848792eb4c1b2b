"""When operations are due under an `io_rate`: a schedule that does not wait for the storage.

An operation that begins after it was due is late, and its scheduled latency says by how much: with the storage, not
the load generator, to blame or not, that is what somebody who came at that time would have seen.
"""

from __future__ import annotations

import numpy as np

from sai3tui.config.model import ArrivalKind

BATCH = 1024


class Schedule:
    """Due times in nanoseconds, ascending, from `start_ns` on: `rate` operations per second on average.

    Intervals are exponential (a Poisson process), uniform between 0 and twice the mean, or all alike. With all alike,
    `phase` (0..1, of an interval) staggers the schedules of several workers.
    """

    __slots__ = ("_due", "_kind", "_last", "_mean", "_random")

    def __init__(self, rate: float, kind: ArrivalKind, seed: int, start_ns: int, phase: float = 0.0) -> None:
        """Raises ValueError unless `rate` is positive."""
        if not rate > 0:
            raise ValueError("a rate must be positive")
        self._mean = 1e9 / rate
        self._kind = kind
        self._random = np.random.Generator(np.random.PCG64(seed))
        # A float of nanoseconds since the start stays exact to a microsecond for a century.
        self._last = float(start_ns) + (phase * self._mean if kind is ArrivalKind.DETERMINISTIC else 0.0)
        self._due: list[int] = []
        if kind is ArrivalKind.DETERMINISTIC:
            self._last -= self._mean

    def next(self) -> int:
        """When the next operation is due, in nanoseconds."""
        if not self._due:
            self._refill()
        return self._due.pop()

    def _refill(self) -> None:
        match self._kind:
            case ArrivalKind.DETERMINISTIC:
                steps = np.full(BATCH, self._mean)
            case ArrivalKind.UNIFORM:
                steps = self._random.random(BATCH) * (2.0 * self._mean)
            case ArrivalKind.EXPONENTIAL:
                steps = self._random.standard_exponential(BATCH) * self._mean
        due = self._last + np.cumsum(steps)
        self._last = float(due[-1])
        self._due = due[::-1].astype(np.int64).tolist()
