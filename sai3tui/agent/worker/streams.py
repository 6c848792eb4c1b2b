"""Where the operations of a mix come from: entries drawn by weight, at full speed or each when it is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sai3tui.agent.worker.lane import Lane
from sai3tui.config.model import EndpointStrategy
from sai3tui.workload.choice import OpMix
from sai3tui.workload.pacing import FleetSchedule


class Stream:
    """Entries of a mix, given by their numbers, that share a schedule or, without one, go at full speed."""

    __slots__ = ("_schedule", "begun", "due", "entries", "late_ns", "latest_ns", "mix")

    def __init__(
        self, entries: Sequence[int], weights: Sequence[float], seed: int, schedule: FleetSchedule | None = None
    ) -> None:
        """An entry of weight 0 is drawn once `restore` is told so."""
        self.entries = tuple(entries)
        # All entries may be left to the other workers.
        self.mix = OpMix(weights if any(weights) else [1.0 for _ in weights], seed)
        for place, weight in enumerate(weights):
            if not weight:
                self.mix.exhaust(place)
        self._schedule = schedule
        self.due = schedule.next() if schedule is not None else 0
        """When the next operation is due; 0 without a schedule."""
        self.begun = 0
        self.late_ns = 0
        self.latest_ns = 0
        """How many of its operations were begun, how late all together, and how late the latest of them."""

    @property
    def paced(self) -> bool:
        return self._schedule is not None

    def take(self, now: int) -> int:
        """When the operation that is begun now was due."""
        due = self.due
        late = now - due
        self.begun += 1
        self.late_ns += late
        if late > self.latest_ns:
            self.latest_ns = late
        assert self._schedule is not None
        self.due = self._schedule.next()
        return due

    def skip(self, now: int) -> None:
        """Make up for nothing that was due before `now`."""
        if self._schedule is not None and self.due < now:
            self._schedule.skip(now)
            self.due = self._schedule.next()

    def behind(self, end: int) -> int:
        """How long the next operation has been due at `end`, in nanoseconds."""
        return max(0, end - self.due) if self.due and not self.mix.empty else 0

    def next(self) -> int:
        """The number of the entry that is drawn; there must be one."""
        return self.entries[self.mix.next()]

    def exhaust(self, entry: int) -> None:
        """Never draw this entry again."""
        self.mix.exhaust(self.entries.index(entry))

    def restore(self, entry: int, weight: float) -> None:
        """Draw an entry again that was exhausted."""
        self.mix.restore(self.entries.index(entry), weight)


class Waiting:
    """Lanes that wait until an operation is due.

    ROUND_ROBIN gives it to the endpoints by turns, LEAST_CONNECTIONS to the one with the fewest operations in flight
    for its connections, WEIGHTED to whichever connection has waited longest.
    """

    __slots__ = ("_by_endpoint", "_count", "_lanes", "_order", "_strategy", "_turn")

    def __init__(self, strategy: EndpointStrategy, lanes: Sequence[Lane]) -> None:
        self._strategy = strategy
        self._order = sorted({lane.endpoint for lane in lanes})
        self._lanes = {endpoint: sum(lane.endpoint == endpoint for lane in lanes) for endpoint in self._order}
        self._by_endpoint: dict[int, deque[Lane]] = {endpoint: deque() for endpoint in self._order}
        if strategy is EndpointStrategy.WEIGHTED:
            together: deque[Lane] = deque()
            self._by_endpoint = {endpoint: together for endpoint in self._order}
        self._turn = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, lane: Lane) -> None:
        self._by_endpoint[lane.endpoint].append(lane)
        self._count += 1

    def pop(self) -> Lane:
        """The lane that has the next operation; there must be one."""
        self._count -= 1
        if self._strategy is EndpointStrategy.WEIGHTED:
            return self._by_endpoint[self._order[0]].popleft()
        if self._strategy is EndpointStrategy.LEAST_CONNECTIONS:
            return self._by_endpoint[self._idlest()].popleft()
        order = self._order
        for step in range(len(order)):
            place = (self._turn + step) % len(order)
            waiting = self._by_endpoint[order[place]]
            if waiting:
                self._turn = place + 1
                return waiting.popleft()
        raise IndexError("no lane waits")

    def clear(self) -> list[Lane]:
        """All lanes, which wait no longer."""
        lanes: list[Lane] = []
        for waiting in self._by_endpoint.values():
            lanes += waiting
            waiting.clear()
        self._count = 0
        return lanes

    def _idlest(self) -> int:
        """The endpoint with the fewest connections that do not wait, of those where one does; ties go by turns."""
        order, lanes, waiting = self._order, self._lanes, self._by_endpoint
        turn = self._turn
        self._turn = (turn + 1) % len(order)
        places = ((turn + step) % len(order) for step in range(len(order)))
        return min(
            (order[place] for place in places if waiting[order[place]]),
            key=lambda endpoint: lanes[endpoint] - len(waiting[endpoint]),
        )
