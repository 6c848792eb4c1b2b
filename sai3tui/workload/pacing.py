"""When operations are due under an `io_rate`: a schedule that does not wait for the storage.

An operation that begins after it was due is late, and its scheduled latency says by how much: with the storage, not
the load generator, to blame or not, that is what somebody who came at that time would have seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sai3tui.config.model import ArrivalKind
from sai3tui.workload.rng import combine
from sai3tui.workload.spread import Spread

BATCH = 1024
MAX_DRAWN = 65536


class FleetSchedule:
    """One worker's part of the due times of the whole fleet, in nanoseconds, ascending, from `start_ns` on.

    The fleet does `rate` operations per second; `total` are all its connections, and the worker has those numbered
    `first` to `first + count - 1`. What all workers of a fleet are due, put together, is the fleet's schedule: a
    Poisson process, intervals that are uniform between 0 and twice the mean, or intervals that are all alike. Each
    operation of it is due at exactly one worker, and a worker's turns lie evenly among those of the others.
    """

    __slots__ = ("_cycle", "_due", "_kind", "_last", "_mean", "_random", "_share", "_slots", "_total")

    def __init__(
        self, rate: float, kind: ArrivalKind, seed: int, start_ns: int, first: int, count: int, total: int
    ) -> None:
        """Raises ValueError for a rate that is not positive, or connections that are none of the fleet's."""
        if not rate > 0 or not 0 <= first < first + count <= total:
            raise ValueError("a rate must be positive, and connections be some of the fleet's")
        self._mean = 1e9 / rate
        self._kind = kind
        self._share = count / total
        self._total = total
        spread = Spread(total)
        self._slots = np.sort(np.array([spread.place(slot) for slot in range(first, first + count)], dtype=np.int64))
        # The parts of a Poisson process are Poisson processes of their own; the others draw the same sequence.
        own = combine(seed, first) if kind is ArrivalKind.EXPONENTIAL else seed
        self._random = np.random.Generator(np.random.PCG64(own))
        self._last = float(start_ns)
        self._cycle = 0
        self._due: list[int] = []

    def skip(self, until_ns: int) -> None:
        """Leave out what was due before `until_ns`: somebody who begins late has no operations to make up for."""
        drawn = self._due
        while drawn and drawn[-1] < until_ns:
            drawn.pop()
        if drawn:
            return
        if self._kind is ArrivalKind.EXPONENTIAL:
            # The process does not remember.
            self._last = max(self._last, float(until_ns))
            return
        if self._kind is ArrivalKind.DETERMINISTIC:
            self._cycle = max(self._cycle, int((until_ns - self._last) / (self._mean * self._total)) - 1)
        due = self.next()
        while due < until_ns:
            due = self.next()
        self._due.append(due)

    def next(self) -> int:
        """When the worker's next operation is due, in nanoseconds."""
        if not self._due:
            self._refill()
        return self._due.pop()

    def _refill(self) -> None:
        due: NDArray[np.floating[Any]]
        match self._kind:
            case ArrivalKind.EXPONENTIAL:
                due = self._last + np.cumsum(self._random.standard_exponential(BATCH) * (self._mean / self._share))
                self._last = float(due[-1])
            case ArrivalKind.DETERMINISTIC:
                cycles = self._cycle + np.arange(max(1, BATCH // len(self._slots)))
                self._cycle += len(cycles)
                due = self._last + (cycles[:, None] * self._total + self._slots).ravel() * self._mean
            case ArrivalKind.UNIFORM:
                cycles = np.arange(max(1, min(BATCH // len(self._slots), MAX_DRAWN // self._total)))
                steps = self._random.random(len(cycles) * self._total) * (2.0 * self._mean)
                fleet = self._last + np.cumsum(steps)
                self._last = float(fleet[-1])
                due = fleet[(cycles[:, None] * self._total + self._slots).ravel()]
        self._due = due[::-1].astype(np.int64).tolist()
