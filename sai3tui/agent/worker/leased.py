"""Prepare, verify and cleanup in a worker: something is done once to every object that is granted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sai3tui.agent.lease import LeasedJob
from sai3tui.agent.worker.driver import Driver, WorkerContext
from sai3tui.agent.worker.lane import Lane
from sai3tui.agent.worker.messages import StartStage
from sai3tui.agent.worker.supply import Held, Shelf
from sai3tui.config.ops import Op
from sai3tui.errors import Failure


class LeasedDriver(Driver):
    """PUTs, DELETEs or reads back what leases name. Each connection takes from the leases of its endpoint."""

    def __init__(self, start: StartStage, context: WorkerContext, job: LeasedJob) -> None:
        super().__init__(start, context, job)
        self._op = job.op
        self._verify = job.verify
        self._sized = context.sized_gets
        self._missing_is_done = job.missing_is_done
        lanes: dict[int, int] = {}
        for lane in self._active:
            lanes[lane.endpoint] = lanes.get(lane.endpoint, 0) + 1
        self._resting: dict[int, list[Lane]] = {endpoint: [] for endpoint in lanes}
        self._shelves: dict[int, Shelf] = {
            endpoint: self.supply.shelf(None, endpoint, count * job.lease_size) for endpoint, count in lanes.items()
        }

        self._anywhere = job.anywhere
        self._handed: deque[tuple[int, Held, int]] = deque()
        """What failed at an endpoint, and at which one, for connections to others."""

    def rest_endpoint(self, endpoint: int, until_ns: int) -> None:
        super().rest_endpoint(endpoint, until_ns)
        shelf = self._shelves.get(endpoint)
        if shelf is not None and self._anywhere and until_ns and not self._stopping:
            self.supply.close(shelf)

    def _opened(self, endpoint: int) -> None:
        shelf = self._shelves.get(endpoint)
        if shelf is not None and shelf.closed:
            self.supply.open(shelf)

    def _hand_over(self, lane: Lane, failure: Failure) -> bool:
        others = self._others(lane.endpoint)
        if not self._anywhere or lane.held is None or not others:
            return False
        self._attempts.failed(failure, lane.endpoint, lane.request.op, retried=True)
        self._recorder.retry(lane.request.op, lane.endpoint, self._size_of(lane))
        self._pass_on(lane.index, lane.held, lane.endpoint, others)
        self._proceed(lane)
        return True

    def _pass_on(self, index: int, held: Held, endpoint: int, others: Sequence[int]) -> None:
        """Leave what failed at an endpoint to connections to `others`."""
        self._handed.append((index, held, endpoint))
        for other in others:
            if self._resting[other]:
                self._resume(self._resting[other].pop())
                break

    def _last_resort(self, lane: Lane, failure: Failure) -> bool:
        # Once for every object: what fails at a second endpoint too fails for good.
        return self._rests and not lane.moved and self._hand_over(lane, failure)

    def _others(self, endpoint: int) -> list[int]:
        """Other endpoints than this one that work, as far as is known."""
        return [other for other in self._shelves if other != endpoint and other not in self._held]

    def _take_handed(self, lane: Lane) -> tuple[int, Held] | None:
        for place, (index, held, endpoint) in enumerate(self._handed):
            if endpoint != lane.endpoint or not self._others(endpoint):
                del self._handed[place]
                return index, held
        return None

    def _next(self, lane: Lane, now: int) -> None:
        shelf = self._shelves[lane.endpoint]
        taken = self._take_handed(lane) if self._handed else None
        lane.moved = taken is not None
        if taken is None:
            taken = shelf.take()
        if taken is None:
            self._resting[lane.endpoint].append(lane)
            self._rest(lane)
            return
        if shelf.short():
            self.supply.need()
        index, held = taken
        lane.held = held
        lane.index = index
        lane.attempt = 1
        lane.due = 0
        lease = held.lease
        runtime = self._sets[lease.set_id]
        if self._op is Op.PUT:
            self.put(lane, runtime, index, lease.generation, 0)
            return
        request = lane.request
        request.op = self._op
        request.key = runtime.key(index)
        request.index = index
        if self._verify:
            lane.verify(runtime, lease.generation, index)
            request.length = -1
            request.size = runtime.size(index) if self._sized else 0
        lane.connection.issue(request)

    def _size_of(self, lane: Lane) -> int:
        if self._op is Op.GET and lane.held is not None:
            return self._sets[lane.held.lease.set_id].size(lane.index)
        return super()._size_of(lane)

    def _wake(self, endpoint: int | None) -> None:
        for place in self._shelves if endpoint is None else (endpoint,):
            resting, shelf = self._resting[place], self._shelves[place]
            while resting and shelf.available:
                self._resume(resting.pop())

    def _complete(self) -> bool:
        return self.supply.exhausted and not self._handed
