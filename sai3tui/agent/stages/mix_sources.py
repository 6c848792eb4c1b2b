"""Leases of an execute stage: one source for all sets, and which objects a DELETE entry takes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from sai3tui.agent.lease import (
    Lease,
    LeaseSource,
    MovableSource,
)
from sai3tui.errors import Failure
from sai3tui.workload.patterns import Selection


@dataclass(slots=True)
class Sources:
    """One `LeaseSource` for each set that has leases; their lease numbers are told apart by the set's place."""

    by_set: dict[int, LeaseSource] = field(default_factory=dict)
    _order: list[LeaseSource] = field(default_factory=list)

    def add(self, set_id: int, source: LeaseSource) -> None:
        self.by_set[set_id] = source
        self._order.append(source)

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        source = self.by_set.get(-1 if set_id is None else set_id)
        if source is None:
            return None
        lease = await source.grant(endpoint, want, set_id)
        if lease is None or set_id is None:
            return None
        number = lease.lease_id * len(self._order) + self._order.index(source) if lease.lease_id else 0
        return _renamed(lease, number, set_id)

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        number, place = divmod(lease_id, len(self._order))
        self._order[place].finished(number, done, failed)

    def unused(self, lease_id: int, count: int) -> None:
        number, place = divmod(lease_id, len(self._order))
        self._order[place].unused(number, count)

    def taken_out(self, endpoint: int, *, out: bool) -> None:
        for source in self._order:
            if isinstance(source, MovableSource):
                source.taken_out(endpoint, out=out)

    def lost(self, lease_id: int) -> None:
        number, place = divmod(lease_id, len(self._order))
        self._order[place].lost(number)


def _renamed(lease: Lease, number: int, set_id: int) -> Lease:
    return Lease(
        number,
        set_id,
        lease.generation,
        lease.slot,
        lease.slots,
        lease.endpoint,
        lease.first_k,
        lease.count,
        lease.stride,
        lease.epoch,
        lease.explicit,
    )


@dataclass(frozen=True, slots=True)
class Part:
    """The objects of a set that one DELETE entry takes: those that match and that no earlier entry has. `leased` is
    the number of the set that its leases name."""

    pattern: str
    leased: int
    selection: Selection
    earlier: tuple[Part, ...] = ()
    halves: int = 0

    @property
    def whole(self) -> bool:
        """Whether it has all objects of the set."""
        return self.selection.covers_all and not self.earlier and not self.halves

    def __contains__(self, index: object) -> bool:
        if not isinstance(index, int) or index not in self.selection:
            return False
        if self.halves and index // self.halves % 2 == 0:
            return False
        return not any(index in part.selection for part in self.earlier)
