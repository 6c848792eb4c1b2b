"""Execute in a worker: operations drawn by weight until the time is over, at full speed or on a schedule."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from time import monotonic_ns

from sai3tui.agent.lease import Draw, MixJob, MixOp
from sai3tui.agent.worker.alarm import Alarm
from sai3tui.agent.worker.driver import Driver, WorkerContext
from sai3tui.agent.worker.lane import Lane, SetRuntime
from sai3tui.agent.worker.messages import Granted, MoreWork, StartStage
from sai3tui.agent.worker.supply import Held, Shelf
from sai3tui.config.ops import Op
from sai3tui.workload.choice import OpMix
from sai3tui.workload.pacing import Schedule
from sai3tui.workload.rng import combine

TRIES = 8
"""Draws in a row that may come upon entries without anything at hand, before a lane waits for leases."""


class _Choice:
    """One `Draw`, ready for use."""

    __slots__ = ("count", "first", "listed", "step")

    def __init__(self, draw: Draw) -> None:
        self.first = draw.first
        self.step = draw.step
        self.listed: Sequence[int] | None = None
        self.count = draw.count
        if draw.listed:
            listed = array("Q")
            listed.frombytes(draw.listed)
            self.listed, self.count = listed, len(listed)

    def index(self, point: float) -> int:
        """The index that a number in [0, 1) chooses."""
        place = int(point * self.count)
        return self.listed[place] if self.listed is not None else self.first + place * self.step


class _Limit:
    """How many lanes of this worker may be in some entries at once."""

    __slots__ = ("most", "queue", "running")

    def __init__(self, most: int) -> None:
        self.most = most
        self.running = 0
        self.queue: deque[tuple[Lane, int, float]] = deque()
        """Busy lanes that have drawn an entry, its number and the object's, and wait until another lane is through."""


class _Entry:
    """One `MixOp`, ready for use."""

    __slots__ = (
        "choices",
        "generation",
        "leased",
        "limit",
        "op",
        "recursive",
        "runtime",
        "shelves",
        "verify",
        "weight",
    )

    def __init__(self, op: MixOp, runtime: SetRuntime, shelves: dict[int, Shelf], limit: _Limit | None) -> None:
        self.op = op.op
        self.runtime = runtime
        self.generation = op.generation
        self.recursive = op.recursive
        self.weight = op.weight if limit is None or limit.most else 0.0
        self.limit = limit
        self.verify = op.verify and op.op is Op.GET
        self.leased = op.leased
        self.shelves = shelves
        self.choices = [_Choice(draw) for draw in op.draws]


class MixDriver(Driver):
    """Draws operations, and issues them as connections become free or as they are due."""

    def __init__(self, start: StartStage, context: WorkerContext, job: MixJob) -> None:
        super().__init__(start, context, job)
        self._ends_ns = start.ends_ns
        self._drain = job.drain
        self._sized = context.sized_gets
        seed = combine(job.seed, start.stage, context.number)
        shelves = self._make_shelves(job)
        self._limits = self._make_limits(job)
        self._entries = [
            _Entry(
                op, self._sets[op.set_id], shelves.get(op.set_id, {}) if op.leased else {}, self._limits.get(op.group)
            )
            for op in job.ops
        ]
        usable = [self._usable(op) for op in job.ops]
        weights = [entry.weight if can else 0.0 for entry, can in zip(self._entries, usable, strict=True)]
        # All entries may be left to the other workers.
        self._mix = OpMix(weights if any(weights) else [1.0 for _ in weights], seed)
        for number, weight in enumerate(weights):
            if not weight:
                self._mix.exhaust(number)
        self._starved: list[Lane] = []
        """Lanes that rest until there are leases."""
        self._version = 0
        self._schedule: Schedule | None = None
        self._alarm: Alarm | None = None
        self._waiting: deque[tuple[int, Lane]] = deque()
        """Lanes that wait until an operation is due; due times ascend."""
        if job.io_rate is not None and job.io_rate.iops > 0:
            rate = job.io_rate.iops * job.rate_share * context.rate_share
            begin = max(job.start_ns, monotonic_ns())
            phase = (combine(seed) >> 11) * 2.0**-53
            self._schedule = Schedule(rate, job.io_rate.distribution, seed, begin, phase)
            self._alarm = Alarm(context.loop, self._due)

    def _usable(self, op: MixOp) -> bool:
        return op.leased or any(draw.count or draw.listed for draw in op.draws)

    def _make_limits(self, job: MixJob) -> dict[int, _Limit]:
        """This worker's part of the connections that may be in an entry at once, for those that have a limit."""
        workers, number = self._context.workers, self._context.number
        limits = {}
        for op in job.ops:
            if op.concurrency is not None:
                # Entries begin their deal at different workers, so that small limits do not all fall to the first.
                place = (number - op.group) % workers
                limits[op.group] = _Limit(op.concurrency // workers + (place < op.concurrency % workers))
        return limits

    def _make_shelves(self, job: MixJob) -> dict[int, dict[int, Shelf]]:
        lanes: dict[int, int] = {}
        for lane in self._lanes:
            lanes[lane.endpoint] = lanes.get(lane.endpoint, 0) + 1
        return {
            set_id: {
                endpoint: self.supply.shelf(set_id, endpoint, count * job.lease_size)
                for endpoint, count in lanes.items()
            }
            for set_id in {op.set_id for op in job.ops if op.leased}
        }

    def begin(self) -> None:
        for lane in self._lanes:
            lane.entry = -1
        wait = (self._ends_ns - monotonic_ns()) / 1e9
        self._timers.append(self._loop.call_later(max(0.0, wait), self._over))
        super().begin()

    def _over(self) -> None:
        """The time is up: what is in flight counts, nothing new begins."""
        if not self._stopping:
            self._wind_down(self._drain)

    def _wind_down(self, grace: float) -> None:
        waiting, self._waiting = self._waiting, deque()
        queued = [lane for limit in self._limits.values() for lane, _, _ in limit.queue]
        for limit in self._limits.values():
            limit.queue.clear()
        for lane in (*(lane for _, lane in waiting), *queued):
            self._rest(lane)
        super()._wind_down(grace)

    def close(self) -> None:
        super().close()
        if self._alarm is not None:
            self._alarm.close()

    def _complete(self) -> bool:
        return self._mix.empty

    def _unpause(self) -> None:
        super()._unpause()
        self._due()

    def _leave(self, lane: Lane, now: int) -> None:
        """The lane is through with its entry: if that has a limit, another lane may go on."""
        limit = self._entries[lane.entry].limit
        lane.entry = -1
        if limit is None:
            return
        limit.running -= 1
        if not limit.queue or self._stopping or now >= self._ends_ns:
            return
        waiting, number, point = limit.queue.popleft()
        if not self._begin(waiting, number, point):
            # There is nothing at hand for those who wait: they draw anew.
            others = [each for each, _, _ in limit.queue]
            limit.queue.clear()
            for each in (waiting, *others):
                self._issue(each)

    def _next(self, lane: Lane, now: int) -> None:
        if self._limits and lane.entry >= 0:
            self._leave(lane, now)
        if self._stopping or now >= self._ends_ns:
            self._rest(lane)
            return
        lane.attempt = 1
        lane.due = 0
        if self._schedule is not None:
            due = self._schedule.next()
            lane.due = due
            if due > now:
                if not self._waiting and self._alarm is not None:
                    self._alarm.set(due)
                self._waiting.append((due, lane))
                return
        self._issue(lane)

    def _due(self) -> None:
        """Issue what is due, and set the alarm for what is next."""
        if self._paused:
            return
        waiting = self._waiting
        now = monotonic_ns()
        while waiting and waiting[0][0] <= now:
            self._issue(waiting.popleft()[1])
        if waiting and self._alarm is not None:
            self._alarm.set(waiting[0][0])

    def _issue(self, lane: Lane) -> None:
        """Draw an operation and issue it, or wait for what it needs."""
        for _ in range(TRIES):
            if self._mix.empty:
                break
            number, point = self._mix.next()
            if self._limits:
                limit = self._entries[number].limit
                if limit is not None and limit.running >= limit.most:
                    limit.queue.append((lane, number, point))
                    return
            if self._begin(lane, number, point):
                return
        self._starved.append(lane)
        self._rest(lane)

    def _begin(self, lane: Lane, number: int, point: float) -> bool:
        """Issue an operation of an entry; False if there is nothing at hand that it could be done to."""
        entry = self._entries[number]
        held: Held | None = None
        if entry.leased:
            shelf = entry.shelves[lane.endpoint]
            taken = shelf.take()
            if shelf.short():
                self.supply.need()
            if taken is None:
                if all(other.exhausted for other in entry.shelves.values()):
                    self._mix.exhaust(number)
                return False
            index, held = taken
        else:
            choices = entry.choices
            choice = choices[lane.endpoint] if len(choices) > 1 else choices[0]
            if not choice.count:
                return False
            index = choice.index(point)
        lane.held = held
        lane.index = index
        lane.entry = number
        if entry.limit is not None:
            entry.limit.running += 1
        self._send(lane, entry, index, held)
        return True

    def _send(self, lane: Lane, entry: _Entry, index: int, held: Held | None) -> None:
        runtime = entry.runtime
        op = entry.op
        if op is Op.PUT:
            if held is not None:
                self.put(lane, runtime, index, held.lease.generation, 0)
            else:
                self._version += 1
                self.put(lane, runtime, index, entry.generation, self._version)
            return
        request = lane.request
        request.op = op
        request.key = runtime.key(index)
        request.index = index
        request.recursive = entry.recursive
        request.size = runtime.size(index) if self._sized and op is Op.GET else 0
        if entry.verify:
            lane.verify(runtime, entry.generation, index)
        else:
            request.sink = None
        lane.connection.issue(request)

    def _size_of(self, lane: Lane) -> int:
        if lane.request.op is Op.GET:
            return self._entries[lane.entry].runtime.size(lane.index)
        return super()._size_of(lane)

    def granted(self, message: Granted) -> None:
        super().granted(message)
        if message.lease is None and self._started and not self._stopping:
            self._wake(None)

    def more_work(self, message: MoreWork) -> None:
        for number, entry in enumerate(self._entries):
            if entry.leased:
                self._mix.restore(number, entry.weight)
        super().more_work(message)

    def _wake(self, endpoint: int | None) -> None:
        starved, self._starved = self._starved, []
        for lane in starved:
            if endpoint is None or lane.endpoint == endpoint:
                self._resume(lane)
            else:
                self._starved.append(lane)
