"""Turns: leave to begin an operation or to move some bytes, for stages that end after a number of them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from sai3tui.agent.lease import Lease
from sai3tui.errors import Failure


class TurnSource:
    """A `LeaseSource` over so many turns, whichever connection takes them."""

    def __init__(self, set_id: int, turns: int) -> None:
        self._set_id = set_id
        self._left = turns
        self._out: dict[int, int] = {}
        self._next_lease = 1

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        """At most `want` turns."""
        del set_id
        count = min(want, self._left)
        if not count:
            return None
        self._left -= count
        lease = Lease(self._next_lease, self._set_id, 0, 0, 1, endpoint, 0, count)
        self._next_lease += 1
        self._out[lease.lease_id] = count
        return lease

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        """An operation that failed has had its turn."""
        self._close(lease_id, len(done) + len(failed))

    def _close(self, lease_id: int, count: int) -> None:
        left = self._out[lease_id] - count
        if left:
            self._out[lease_id] = left
        else:
            del self._out[lease_id]

    def unused(self, lease_id: int, count: int) -> None:
        """The last `count` turns are for others."""
        self._left += count
        self._close(lease_id, count)

    def lost(self, lease_id: int) -> None:
        """What the worker had not finished is done by another one."""
        self._left += self._out.pop(lease_id, 0)
