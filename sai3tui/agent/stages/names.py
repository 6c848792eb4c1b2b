"""Names of objects that PUTs of an execute stage make: taken in sequence, on record before their first use."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sai3tui.agent.lease import Lease
from sai3tui.config.model import SizeSpec
from sai3tui.errors import Failure
from sai3tui.state.layout import LayoutCache
from sai3tui.state.names import NamePool, NamesTaken, Span
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
    _state: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_state", combine(self.pool.seed, self.pool.stage, self.pool.slot))

    def key(self, index: int) -> str:
        pool = self.pool
        kind = "dir" if pool.directories else "obj"
        return pool.prefix + new_name(self._state, index, pool.shards, kind)

    def size(self, index: int) -> int:
        return self.sizes.size(index)


def new_names(pool: NamePool, spec: SizeSpec) -> NewNames:
    """The objects of `pool` with sizes from `spec`."""
    return NewNames(pool, Sizes(spec, combine(pool.seed, pool.stage, pool.slot)))


class NameSource:
    """A `LeaseSource` over the sequence numbers of one pool that are not `taken`."""

    def __init__(self, cache: LayoutCache, pool: NamePool, set_id: int, taken: NamesTaken | None) -> None:
        self._cache = cache
        self._pool = pool
        self._set_id = set_id
        before = taken if taken is not None else NamesTaken((0,) * pool.homes)
        self._counts = list(before.counts)
        self._recorded = [0] * pool.homes
        """As far as names may be given out without a commit."""
        self._free = [deque(span for span in before.unused if span.home == home) for home in range(pool.homes)]
        self._out: dict[int, tuple[Lease, int]] = {}
        """Leases, and how many of their names are neither settled nor given back."""
        self._next_lease = 1
        self.done = 0

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        """`want` new names. Raises ResourceError if they cannot be put on record."""
        del set_id
        home = endpoint % self._pool.homes
        if self._free[home]:
            span = self._free[home].popleft()
            if span.count > want:
                self._free[home].appendleft(Span(home, span.first + want, span.count - want))
                span = Span(home, span.first, want)
        else:
            span = Span(home, self._counts[home], want)
            self._counts[home] = span.end
        number = self._next_lease
        self._next_lease += 1
        lease = Lease(number, self._set_id, 0, home, self._pool.homes, endpoint, span.first, span.count)
        self._out[number] = (lease, span.count)
        if self._recorded[home] < self._counts[home]:
            await self.reserve()
        return lease

    async def reserve(self) -> None:
        """Put the next names on record. Raises ResourceError."""
        # What is free may be used without another commit, so it is on record as taken too.
        ahead = [count + RESERVE_AHEAD for count in self._counts]
        await self._cache.reserve(self._pool, NamesTaken(tuple(ahead)))
        self._recorded = [max(pair) for pair in zip(ahead, self._recorded, strict=True)]

    async def settle(self) -> None:
        """Nothing is granted any more: put on record which names were used, or may have been."""
        unused = tuple(span for spans in self._free for span in spans)
        await self._cache.reserve(self._pool, NamesTaken(tuple(self._counts), unused).trimmed())
        self._recorded = [0] * self._pool.homes

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        """What became of a new object is in the figures; for cleanup it is enough that its name was used."""
        self.done += len(done)
        self._close(lease_id, len(done) + len(failed))

    def unused(self, lease_id: int, count: int) -> None:
        """The last `count` names can be given out again."""
        lease, _ = self._out[lease_id]
        self._free[lease.slot].append(Span(lease.slot, lease.first_k + lease.count - count, count))
        self._close(lease_id, count)

    def lost(self, lease_id: int) -> None:
        """Names that a dead worker had may have been used, and are not used again."""
        self._out.pop(lease_id, None)

    def _close(self, lease_id: int, count: int) -> None:
        lease, left = self._out[lease_id]
        if left > count:
            self._out[lease_id] = (lease, left - count)
        else:
            del self._out[lease_id]


class TakenNames:
    """A `LeaseSource` over names that were used, to delete their objects."""

    def __init__(self, set_id: int, taken: NamesTaken) -> None:
        self._set_id = set_id
        self._ready = [deque(taken.used(home)) for home in range(len(taken.counts))]
        self._leases: dict[int, Lease] = {}
        self._next_lease = 1
        self.settled = 0
        self.failed: list[Failure] = []

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        """Names of objects at `endpoint`, or of any where all serve all."""
        del set_id
        homes = len(self._ready)
        home = endpoint % homes
        ready = self._ready[home]
        if not ready:
            return None
        span = ready.popleft()
        if span.count > want:
            ready.appendleft(Span(home, span.first + want, span.count - want))
        lease = Lease(self._next_lease, self._set_id, 0, home, homes, endpoint, span.first, min(want, span.count))
        self._next_lease += 1
        self._leases[lease.lease_id] = lease
        return lease

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        del lease_id
        self.settled += len(done)
        self.failed += [failure for _, failure in failed]

    def unused(self, lease_id: int, count: int) -> None:
        """Those are still to be deleted."""
        lease = self._leases[lease_id]
        self._ready[lease.slot].append(Span(lease.slot, lease.first_k + lease.count - count, count))

    def lost(self, lease_id: int) -> None:
        """Deleting twice does no harm, so the whole lease is granted again."""
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            self._ready[lease.slot].append(Span(lease.slot, lease.first_k, lease.count))
