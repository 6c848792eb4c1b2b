"""How long what is ready waits for a worker's loop: timers that the kernel fires at times that we know.

An answer that has arrived lies in the same queue as such a timer, and waits as long: while the loop is busy with what
came before, nobody reads it and its latency grows. Times between probes are random, so that nothing periodic is missed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic_ns

from sai3tui.agent.worker.alarm import Alarm

MEAN_NS = 20_000_000


class LagProbe:
    """Calls `record(nanoseconds)`, then `turn()`, about fifty times a second until it is closed."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, record: Callable[[int], None], turn: Callable[[], None]
    ) -> None:
        self._record = record
        self._turn = turn
        self._random = random.Random()
        self._due = 0
        self._alarm = Alarm(loop, self._rung)
        self._next()

    def _next(self) -> None:
        self._due = monotonic_ns() + int(MEAN_NS * self._random.uniform(0.5, 1.5))
        self._alarm.set(self._due)

    def _rung(self) -> None:
        self._record(max(0, monotonic_ns() - self._due))
        self._turn()
        self._next()

    def close(self) -> None:
        """Idempotent."""
        self._alarm.close()
