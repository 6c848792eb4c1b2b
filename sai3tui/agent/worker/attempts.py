"""Attempts that failed, in a worker: counted by cause until they are told."""

from __future__ import annotations

from sai3tui.clock import Clock
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, Failure
from sai3tui.events import AttemptStats


class AttemptLog:
    """Every attempt that fails is counted here, whether its operation is tried again or not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._found: dict[tuple[ErrorKind, str, int, Op], AttemptStats] = {}

    def failed(self, failure: Failure, endpoint: int, op: Op, *, retried: bool) -> None:
        context = failure.context
        now = self._clock.now_ns()
        one = AttemptStats(
            failure.kind,
            context.subclass,
            endpoint,
            context.endpoint,
            op,
            1,
            int(retried),
            now,
            now,
            context.request_id,
            failure.sentence(),
        )
        key = failure.kind, context.subclass, endpoint, op
        known = self._found.get(key)
        self._found[key] = one if known is None else known + one

    def take(self) -> tuple[AttemptStats, ...]:
        """What has been counted since the last call."""
        found = tuple(self._found.values())
        self._found.clear()
        return found
