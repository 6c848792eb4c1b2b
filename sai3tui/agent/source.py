"""Leases out of the state cache: what prepare has to PUT and what cleanup has to DELETE."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sai3tui.agent.lease import Lease
from sai3tui.errors import ErrorKind, Failure
from sai3tui.state.generations import Generation
from sai3tui.state.layout import LayoutCache, StatesKey
from sai3tui.state.states import Numbers, ObjectState, SlotStates, wanted

NO_KINDS: frozenset[ErrorKind] = frozenset()


@dataclass(frozen=True, slots=True)
class TrackedSet:
    """One object set of a slot. `bytes_of` sums the sizes of objects given by their indices."""

    set_id: int
    states: SlotStates
    bytes_of: Callable[[Numbers], int]


@dataclass(frozen=True, slots=True)
class Purpose:
    """What leases are for: objects in a state of `take` are granted, are `during` while a worker has them (None:
    unchanged) and `after` when it is done (None: unchanged, whether it succeeds or not). Failures of a kind in
    `tolerated` count as done."""

    take: frozenset[ObjectState]
    during: ObjectState | None
    after: ObjectState | None
    tolerated: frozenset[ErrorKind] = NO_KINDS
    back: ObjectState | None = None
    """What becomes of objects that a worker had and did not begin; None: they stay `during`."""


CREATE = Purpose(
    frozenset({ObjectState.PLANNED, ObjectState.CREATING, ObjectState.DELETED}),
    ObjectState.CREATING,
    ObjectState.CREATED,
)
DELETE = Purpose(
    frozenset({ObjectState.CREATING, ObjectState.CREATED}),
    None,
    ObjectState.DELETED,
    frozenset({ErrorKind.NOT_FOUND}),
)
VERIFY = Purpose(frozenset({ObjectState.CREATED}), None, None)
TAKE = Purpose(frozenset({ObjectState.CREATED}), ObjectState.CREATING, ObjectState.DELETED, back=ObjectState.CREATED)
"""Deletes of an execute stage: until one is done, its object may or may not exist, which is what CREATING says."""


@dataclass(slots=True)
class _Run:
    """Objects of one set, ascending with equal steps."""

    tracked: TrackedSet
    ks: Numbers


@dataclass(slots=True)
class _Out:
    """A lease that a worker has."""

    lease: Lease
    tracked: TrackedSet
    ks: Numbers
    open: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.open = np.ones(self.ks.size, dtype=np.bool_)


class StateSource:
    """A `LeaseSource` over the objects of one slot: endpoint e gets the objects k with k mod E = e.

    What `grant` returns is recorded on disk as `during` before it returns. `only` leaves out objects by their index;
    `todo` counts them all the same.
    """

    def __init__(
        self,
        cache: LayoutCache,
        record: Generation,
        sets: Sequence[TrackedSet],
        endpoints: int,
        purpose: Purpose,
        only: Container[int] | None = None,
    ) -> None:
        self._cache = cache
        self._record = record
        self._endpoints = endpoints
        self._purpose = purpose
        self._only = only
        self._mask = wanted(*purpose.take)
        self._runs = [self._iterate(sets, endpoint) for endpoint in range(endpoints)]
        self._ready: list[deque[_Run]] = [deque() for _ in range(endpoints)]
        self._out: dict[int, _Out] = {}
        self._next_lease = 1
        self._epoch = 0
        self.todo = sum(tracked.states.total(state) for tracked in sets for state in purpose.take)
        self.done = 0
        self.bytes = 0
        self.failed = 0
        self.repeated = 0
        """Objects granted although an earlier PUT of them may have happened."""
        self.samples: list[Failure] = []
        """A few of the failures."""

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        """Up to `want` objects for `endpoint`, of any set; None if nothing is left. Raises ResourceError."""
        del set_id
        ready = self._ready[endpoint]
        if not ready:
            following = next(self._runs[endpoint], None)
            if following is None:
                return None
            ready.append(following)
        run = ready.popleft()
        if run.ks.size > want:
            ready.appendleft(_Run(run.tracked, run.ks[want:]))
            run = _Run(run.tracked, run.ks[:want])
        lease = Lease(
            lease_id=self._next_lease,
            set_id=run.tracked.set_id,
            generation=self._record.number,
            slot=self._record.slot,
            slots=self._record.slots,
            endpoint=endpoint,
            first_k=int(run.ks[0]),
            count=int(run.ks.size),
            stride=self._endpoints,
            epoch=self._epoch,
        )
        self._next_lease += 1
        self._out[lease.lease_id] = _Out(lease, run.tracked, run.ks)
        if self._purpose.during is not None:
            states = run.tracked.states
            if states.total(self._purpose.during):
                self.repeated += sum(states.get(int(k)) is self._purpose.during for k in run.ks)
            states.set(run.ks, self._purpose.during)
            await self._cache.flush()
        return lease

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        """Objects of a lease are done, or have failed for good. Indices are those of the object set."""
        out = self._out.get(lease_id)
        if out is None:
            return
        tolerated = [index for index, failure in failed if failure.kind in self._purpose.tolerated]
        listed = [np.frombuffer(done, dtype=np.uint64).astype(np.int64), np.array(tolerated, dtype=np.int64)]
        settled = np.concatenate(listed)
        settled = settled[self._close(out, settled)]
        after = self._purpose.after
        if settled.size:
            if after is not None:
                out.tracked.states.set(np.sort(self._ks(settled)), after)
            self.done += int(settled.size)
            self.bytes += out.tracked.bytes_of(settled)
        for index, failure in failed:
            if failure.kind in self._purpose.tolerated:
                continue
            at = np.array([index], dtype=np.int64)
            if self._close(out, at).any():
                self.failed += 1
                if len(self.samples) < 16:
                    self.samples.append(failure)
                if after is None:
                    continue
                key = StatesKey(out.tracked.set_id, self._record.number, self._record.slot)
                self._cache.note_failed(key, int(self._ks(at)[0]), failure)
        if not out.open.any():
            del self._out[lease_id]
        if after is not None:
            self._cache.flush_soon()

    def unused(self, lease_id: int, count: int) -> None:
        """The last `count` objects of a lease are as they were before."""
        out = self._out.get(lease_id)
        if out is None:
            return
        ks = out.ks[-count:]
        out.open[-count:] = False
        if self._purpose.back is not None:
            out.tracked.states.set(ks, self._purpose.back)
            self._cache.flush_soon()
        self._ready[out.lease.endpoint].extend(self._split(out.tracked, ks))
        if not out.open.any():
            del self._out[lease_id]

    def lost(self, lease_id: int) -> None:
        """The worker that had the lease is gone: what it had not finished is granted again."""
        out = self._out.pop(lease_id, None)
        if out is None:
            return
        self._epoch += 1
        self._ready[out.lease.endpoint].extend(self._split(out.tracked, out.ks[out.open]))

    def _ks(self, indices: Numbers) -> Numbers:
        return (indices - self._record.slot) // self._record.slots

    def _close(self, out: _Out, indices: Numbers) -> npt.NDArray[np.bool_]:
        """Which of `indices` belong to the lease and were open; they are not any more."""
        places = (self._ks(indices) - out.lease.first_k) // self._endpoints
        mine = (places >= 0) & (places < out.ks.size)
        fresh = mine.copy()
        fresh[mine] = out.open[places[mine]]
        out.open[places[mine]] = False
        return fresh

    def _iterate(self, sets: Sequence[TrackedSet], endpoint: int) -> Iterator[_Run]:
        for tracked in sets:
            for ks in tracked.states.where(self._mask):
                yield from self._split(tracked, self._chosen(ks[ks % self._endpoints == endpoint]))

    def _chosen(self, ks: Numbers) -> Numbers:
        only = self._only
        if only is None or not ks.size:
            return ks
        indices = (ks * self._record.slots + self._record.slot).tolist()
        return ks[np.fromiter((index in only for index in indices), dtype=np.bool_, count=ks.size)]

    def _split(self, tracked: TrackedSet, ks: Numbers) -> Iterator[_Run]:
        if not ks.size:
            return
        breaks = np.flatnonzero(np.diff(ks) != self._endpoints) + 1
        for run in np.split(ks, breaks):
            yield _Run(tracked, run)
