"""The time of a process: what the host's clock said when it was first asked, and from then on what has passed.

Setting the host's clock in the middle of a run changes nothing of the run. Time that a host sleeps through counts.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

ATTEMPTS = 4
_PASSING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux stops CLOCK_MONOTONIC while it is suspended, others do not."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that nobody sets, good for all processes of this host: `ahead_ns` is what to add to the nanoseconds since
    the host was started to get those since the Unix epoch."""

    ahead_ns: int

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.clock_gettime_ns(_PASSING) + self.ahead_ns

    def both_ns(self) -> tuple[int, int]:
        """`now_ns` and CLOCK_MONOTONIC of one moment: of some attempts the one that was least interrupted."""
        mono_ns, now_ns = _together(time.CLOCK_MONOTONIC, _PASSING)
        return now_ns + self.ahead_ns, mono_ns


@functools.cache
def host_clock() -> Clock:
    """By the host's clock as it was at the first call."""
    passed_ns, wall_ns = _together(_PASSING, time.CLOCK_REALTIME)
    return Clock(wall_ns - passed_ns)


def now_ns() -> int:
    """Nanoseconds since the Unix epoch, by `host_clock`."""
    return host_clock().now_ns()


def _together(outer: int, inner: int) -> tuple[int, int]:
    best, outer_ns, inner_ns = 1 << 62, 0, 0
    for _ in range(ATTEMPTS):
        before = time.clock_gettime_ns(outer)
        at = time.clock_gettime_ns(inner)
        after = time.clock_gettime_ns(outer)
        if after - before < best:
            best, outer_ns, inner_ns = after - before, (before + after) // 2, at
    return outer_ns, inner_ns
