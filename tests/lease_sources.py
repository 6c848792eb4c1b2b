"""A lease source in memory that insists on its contract, for tests of the worker pool."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence

from sai3tui.agent.lease import Lease
from sai3tui.errors import Failure


class MemorySource:
    """`count` objects (of set 0), object i at endpoint i mod `endpoints`. Raises AssertionError when an index is
    finished twice, or was not granted."""

    def __init__(self, count: int, endpoints: int) -> None:
        self.count = count
        self.ready = [deque(range(endpoint, count, endpoints)) for endpoint in range(endpoints)]
        self.out: dict[int, set[int]] = {}
        self.done: set[int] = set()
        self.failed: dict[int, Failure] = {}
        self.lost_leases = 0
        self.returned = 0
        self.elsewhere: set[int] = set()
        self.granted: list[int] = []
        self.outstanding_most = 0
        self._ids = 0

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        ready = self.ready[endpoint]
        for home in self.elsewhere:
            ready = ready or self.ready[home]
        taken = [ready.popleft() for _ in range(min(want, len(ready)))]
        if not taken:
            return None
        self._ids += 1
        self.out[self._ids] = set(taken)
        self.granted += taken
        self.outstanding_most = max(self.outstanding_most, sum(map(len, self.out.values())))
        return Lease(self._ids, 0, 1, 0, 1, endpoint, 0, len(taken), explicit=array("Q", taken).tobytes())

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        out = self.out[lease_id]
        for index in [*done, *(index for index, _ in failed)]:
            assert index in out, f"{index} is not out under lease {lease_id}"
            out.remove(index)
        self.done.update(done)
        self.failed.update(failed)
        if not out:
            del self.out[lease_id]

    def unused(self, lease_id: int, count: int) -> None:
        out = self.out[lease_id]
        assert count <= len(out)
        for index in sorted(out)[len(out) - count :]:
            out.remove(index)
            self.ready[index % len(self.ready)].append(index)
        self.returned += count
        if not out:
            del self.out[lease_id]

    def taken_out(self, endpoint: int, *, out: bool) -> None:
        (self.elsewhere.add if out else self.elsewhere.discard)(endpoint)

    def lost(self, lease_id: int) -> None:
        self.lost_leases += 1
        for index in sorted(self.out.pop(lease_id)):
            self.ready[index % len(self.ready)].append(index)

    @property
    def complete(self) -> bool:
        return self.done == set(range(self.count))
