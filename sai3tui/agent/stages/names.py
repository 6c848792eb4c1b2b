"""Names of objects that PUTs of an execute stage make: taken in sequence, on record before their first use."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sai3tui.agent.lease import Lease
from sai3tui.config.model import SizeSpec
from sai3tui.errors import Failure
from sai3tui.state.layout import LayoutCache, NamePool
from sai3tui.workload.names import new_name
from sai3tui.workload.rng import combine
from sai3tui.workload.sizes import Sizes

RESERVE_AHEAD = 1024
"""Names put on record at once: a commit for every lease would be felt."""


@dataclass(frozen=True, slots=True)
class NewNames:
    """The objects of a name pool by sequence number, as a `KeySpace`. Sizes are drawn from `spec`."""

    pool: NamePool
    sizes: Sizes

    def key(self, index: int) -> str:
        pool = self.pool
        return pool.prefix + new_name(pool.seed, pool.stage, pool.slot, index, pool.shards)

    def size(self, index: int) -> int:
        return self.sizes.size(index)


def new_names(pool: NamePool, spec: SizeSpec) -> NewNames:
    """The objects of `pool` with sizes from `spec`."""
    return NewNames(pool, Sizes(spec, combine(pool.seed, pool.stage, pool.slot)))


class NameSource:
    """A `LeaseSource` over the sequence numbers of one pool, from `taken` on; an object has no home endpoint."""

    def __init__(self, cache: LayoutCache, pool: NamePool, set_id: int, taken: int) -> None:
        self._cache = cache
        self._pool = pool
        self._set_id = set_id
        self._recorded = taken
        self._next = taken
        self._next_lease = 1
        self.done = 0

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        """`want` new names. Raises ResourceError if they cannot be put on record."""
        del set_id
        first = self._next
        self._next += want
        if self._next > self._recorded:
            self._recorded = self._next + RESERVE_AHEAD
            await self._cache.reserve(self._pool, self._recorded)
        lease = Lease(self._next_lease, self._set_id, 0, 0, 1, endpoint, first, want)
        self._next_lease += 1
        return lease

    async def settle(self) -> None:
        """Nothing is granted any more: names on record beyond those are given back."""
        if self._recorded != self._next:
            self._recorded = self._next
            await self._cache.reserve(self._pool, self._next)

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        """What became of a new object is in the figures; for cleanup it is enough that its name was taken."""
        del lease_id, failed
        self.done += len(done)

    def lost(self, lease_id: int) -> None:
        """Names that a dead worker had are not used again."""
        del lease_id


class TakenNames:
    """A `LeaseSource` over names that were taken, to delete their objects."""

    def __init__(self, set_id: int, taken: int) -> None:
        self._set_id = set_id
        self._taken = taken
        self._next = 0
        self._leases: dict[int, Lease] = {}
        self._back: deque[tuple[int, int]] = deque()
        self._next_lease = 1
        self.settled = 0
        self.failed: list[Failure] = []

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        """Names for any endpoint."""
        del set_id
        if self._back:
            first, count = self._back.popleft()
            if count > want:
                self._back.appendleft((first + want, count - want))
                count = want
        else:
            first, count = self._next, min(want, self._taken - self._next)
            self._next += count
        if count <= 0:
            return None
        lease = Lease(self._next_lease, self._set_id, 0, 0, 1, endpoint, first, count)
        self._next_lease += 1
        self._leases[lease.lease_id] = lease
        return lease

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        del lease_id
        self.settled += len(done)
        self.failed += [failure for _, failure in failed]

    def lost(self, lease_id: int) -> None:
        """Deleting twice does no harm, so the whole lease is granted again."""
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            self._back.append((lease.first_k, lease.count))
