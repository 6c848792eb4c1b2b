"""Leases out of the state cache: what prepare has to PUT and what cleanup has to DELETE."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sai3tui.agent.lease import MAX_OUTSTANDING, Lease
from sai3tui.errors import ErrorKind, Failure
from sai3tui.state.generations import Generation, Holding
from sai3tui.state.layout import LayoutCache, StatesKey
from sai3tui.state.states import Mask, Numbers, ObjectState, SlotStates, wanted
from sai3tui.workload.objects import ObjectSet

NO_KINDS: frozenset[ErrorKind] = frozenset()


@dataclass(frozen=True, slots=True)
class TrackedSet:
    """Objects of one set that are held. `bytes_of` sums the sizes of objects given by their indices."""

    holding: Holding
    states: SlotStates
    bytes_of: Callable[[Numbers], int]

    def count(self, mask: Mask) -> int:
        """How many of them are in a state s with `mask[s]`."""
        return self.states.count_in(self.holding.first_k, self.holding.end_k, mask)

    def where(self, mask: Mask) -> Iterator[Numbers]:
        """Those in a state s with `mask[s]`, ascending."""
        for ks in self.states.where(mask):
            low, high = np.searchsorted(ks, (self.holding.first_k, self.holding.end_k))
            if high > low:
                yield ks[low:high]


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
class _Block:
    """Objects that were put on record together, before any of them is worked on. `safe`: that is on disk."""

    safe: bool = False


@dataclass(slots=True)
class _Run:
    """Objects of one set, ascending with equal steps."""

    tracked: TrackedSet
    ks: Numbers
    block: _Block | None = None
    """None: they are as they were."""


@dataclass(slots=True)
class _Out:
    """A lease that a worker has."""

    lease: Lease
    tracked: TrackedSet
    ks: Numbers
    open: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.open = np.ones(self.ks.size, dtype=np.bool_)


def held(
    cache: LayoutCache, record: Generation, holdings: Iterable[Holding], sets: Sequence[ObjectSet]
) -> list[TrackedSet]:
    """What is held, with its states and sizes."""
    return [
        TrackedSet(each, cache.states(record, each.set_id, each.slot), bytes_of(sets[each.set_id])) for each in holdings
    ]


def deletes_ahead(count: int, endpoints: int) -> int:
    """How many deletes are put on record at once for each of the fleet's `endpoints`, of a set of `count` objects. What
    is on record as begun and was not may be written again after a crash: that is no more than a prepare repeats."""
    return min(count // 100, MAX_OUTSTANDING) // endpoints


def _head(ready: deque[_Run], run: _Run, count: int) -> _Run:
    """The first `count` objects of a run; the rest is what is ready next."""
    if run.ks.size <= count:
        return run
    ready.appendleft(_Run(run.tracked, run.ks[count:], run.block))
    return _Run(run.tracked, run.ks[:count], run.block)


def bytes_of(objects: ObjectSet) -> Callable[[Numbers], int]:
    """A function that sums the sizes of objects given by their indices."""
    return lambda indices: int(objects.sizes.sizes(indices.astype(np.uint64)).sum())


class StateSource:
    """A `LeaseSource` over objects that are held: endpoint e gets the objects k of a slot with k mod E = e.

    What `grant` returns is recorded on disk as `during` before it returns. `only` leaves out objects by their index;
    `todo` counts them all the same. Sets come one after the other or, with a `turn`, by turns of so many objects.
    `anywhere`: any endpoint can be worked at for any object, if its own is out, or
    with `flowing` whenever nothing is left for that endpoint itself. `ahead`: so many objects of an endpoint are put on
    record at once, for leases to come, where the purpose says what becomes of those that are not granted; that is what
    `settle` is for.
    """

    def __init__(
        self,
        cache: LayoutCache,
        record: Generation,
        sets: Sequence[TrackedSet],
        endpoints: int,
        purpose: Purpose,
        only: Container[int] | None = None,
        turn: int = 0,
        anywhere: bool = False,
        flowing: bool = False,
        ahead: int = 0,
    ) -> None:
        self._cache = cache
        self._record = record
        self._endpoints = endpoints
        self._purpose = purpose
        self._only = only
        self._turn = turn
        self._anywhere = anywhere
        self._flowing = flowing
        self._ahead = ahead if purpose.back is not None else 0
        self._elsewhere: set[int] = set(range(endpoints)) if flowing else set()
        self._mask = wanted(*purpose.take)
        self._runs = [self._iterate(sets, endpoint) for endpoint in range(endpoints)]
        self._ready: list[deque[_Run]] = [deque() for _ in range(endpoints)]
        self._out: dict[int, _Out] = {}
        self._next_lease = 1
        self._epoch = 0
        self.todo = sum(tracked.count(self._mask) for tracked in sets)
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
        # What is for endpoints that are out is done at the others.
        for home in (endpoint, *(self._elsewhere - {endpoint})):
            if self._fill(home):
                endpoint = home
                break
        else:
            return None
        run = self._next(self._ready[endpoint], want)
        lease = Lease(
            lease_id=self._next_lease,
            set_id=run.tracked.holding.set_id,
            generation=self._record.number,
            slot=run.tracked.holding.slot,
            slots=self._record.slots,
            endpoint=endpoint,
            first_k=int(run.ks[0]),
            count=int(run.ks.size),
            stride=self._endpoints,
            epoch=run.tracked.holding.epoch + self._epoch,
        )
        self._next_lease += 1
        self._out[lease.lease_id] = _Out(lease, run.tracked, run.ks)
        if run.block is not None and not run.block.safe:
            await self._cache.flush()
            run.block.safe = True
        return lease

    def _next(self, ready: deque[_Run], want: int) -> _Run:
        """Up to `want` objects, which are on record as begun, but maybe not on disk."""
        run = ready.popleft()
        if run.block is None and self._purpose.during is not None:
            run = _head(ready, run, max(want, self._ahead))
            states = run.tracked.states
            if not self._ahead and states.total(self._purpose.during):
                self.repeated += sum(states.get(int(k)) is self._purpose.during for k in run.ks)
            states.set(run.ks, self._purpose.during)
            run.block = _Block()
        return _head(ready, run, want)

    def settle(self) -> None:
        """Nothing is granted any more: what was put on record ahead for that is as it was before."""
        for ready in self._ready:
            for run in ready:
                if run.block is not None and self._purpose.back is not None:
                    run.tracked.states.set(run.ks, self._purpose.back)
                    run.block = None

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
                ks = np.sort(self._ks(settled))
                out.tracked.states.set(ks, after)
                self._cache.done(self._key(out.tracked), ks.tolist())
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
                self._cache.note_failed(self._key(out.tracked), int(self._ks(at)[0]), failure)
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

    def taken_out(self, endpoint: int, *, out: bool) -> None:
        """In a shared namespace, what is for an endpoint that is out is granted to the others."""
        if self._flowing:
            return
        if not out:
            self._elsewhere.discard(endpoint)
        elif self._anywhere:
            self._elsewhere.add(endpoint)

    def _fill(self, endpoint: int) -> bool:
        """Have something ready for an endpoint; False if nothing is left."""
        ready = self._ready[endpoint]
        if not ready:
            following = next(self._runs[endpoint], None)
            if following is None:
                return False
            ready.append(following)
        return True

    def lost(self, lease_id: int) -> None:
        """The worker that had the lease is gone: what it had not finished is granted again."""
        out = self._out.pop(lease_id, None)
        if out is None:
            return
        self._epoch += 1
        self._ready[out.lease.endpoint].extend(self._split(out.tracked, out.ks[out.open]))

    def _key(self, tracked: TrackedSet) -> StatesKey:
        return StatesKey(tracked.holding.set_id, self._record.number, tracked.holding.slot)

    def _ks(self, indices: Numbers) -> Numbers:
        return indices // self._record.slots

    def _close(self, out: _Out, indices: Numbers) -> npt.NDArray[np.bool_]:
        """Which of `indices` belong to the lease and were open; they are not any more."""
        places = (self._ks(indices) - out.lease.first_k) // self._endpoints
        mine = (places >= 0) & (places < out.ks.size)
        fresh = mine.copy()
        fresh[mine] = out.open[places[mine]]
        out.open[places[mine]] = False
        return fresh

    def _iterate(self, sets: Sequence[TrackedSet], endpoint: int) -> Iterator[_Run]:
        if not self._turn:
            for tracked in sets:
                yield from self._iterate_one(tracked, endpoint)
            return
        waiting = deque(self._turns(tracked, endpoint) for tracked in sets)
        while waiting:
            runs = waiting.popleft()
            for run in runs:
                yield run
                waiting.append(runs)
                break

    def _turns(self, tracked: TrackedSet, endpoint: int) -> Iterator[_Run]:
        for run in self._iterate_one(tracked, endpoint):
            for begin in range(0, run.ks.size, self._turn):
                yield _Run(tracked, run.ks[begin : begin + self._turn])

    def _iterate_one(self, tracked: TrackedSet, endpoint: int) -> Iterator[_Run]:
        for ks in tracked.where(self._mask):
            yield from self._split(tracked, self._chosen(tracked, ks[ks % self._endpoints == endpoint]))

    def _chosen(self, tracked: TrackedSet, ks: Numbers) -> Numbers:
        only = self._only
        if only is None or not ks.size:
            return ks
        indices = (ks * self._record.slots + tracked.holding.slot).tolist()
        return ks[np.fromiter((index in only for index in indices), dtype=np.bool_, count=ks.size)]

    def _split(self, tracked: TrackedSet, ks: Numbers) -> Iterator[_Run]:
        if not ks.size:
            return
        breaks = np.flatnonzero(np.diff(ks) != self._endpoints) + 1
        for run in np.split(ks, breaks):
            yield _Run(tracked, run)
