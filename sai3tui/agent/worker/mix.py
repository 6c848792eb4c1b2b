"""Execute in a worker: operations drawn by weight until the time is over, at full speed or on a schedule."""

from __future__ import annotations

from collections import deque
from time import monotonic_ns
from typing import cast

from sai3tui.agent.lease import FleetPart, MixJob, MixOp
from sai3tui.agent.worker.ahead import HeadsAhead
from sai3tui.agent.worker.alarm import Alarm
from sai3tui.agent.worker.driver import Driver, WorkerContext
from sai3tui.agent.worker.lane import Lane, SetRuntime
from sai3tui.agent.worker.messages import Granted, MoreWork, Paced, StartStage
from sai3tui.agent.worker.streams import Stream, Waiting
from sai3tui.agent.worker.supply import Held, Shelf
from sai3tui.config.model import IoRate
from sai3tui.config.ops import Op
from sai3tui.events import Lateness
from sai3tui.storage.s3wire import WireConnection
from sai3tui.workload.drawing import Drawer, Drawing
from sai3tui.workload.pacing import FleetSchedule
from sai3tui.workload.rng import combine

TRIES = 8
"""Draws in a row that may come upon entries without anything at hand, before a lane waits for leases."""

_UNPACED = -2
_COMMON = -1
"""Streams of the entries that go at full speed, and of those that share the rate of all. Others are groups."""


def _usable(op: MixOp) -> bool:
    return op.leased or op.made or any(draw.count or draw.listed for draw in op.draws)


def _plain(op: MixOp) -> bool:
    """Whether its requests are heads of objects that were there before, and nothing else."""
    if op.op not in (Op.GET, Op.STAT) or op.leased or op.made or op.fresh:
        return False
    return not op.verify and op.read_range is None and op.split is None


def _rate_of(op: MixOp, job: MixJob) -> IoRate | None:
    """The rate that an entry has to keep, alone or with others; None: none."""
    rate = job.io_rate if op.io_rate is None else op.io_rate
    return rate if rate is not None and rate.iops > 0 else None


class _Limit:
    """How many lanes of this worker may be in some entries at once."""

    __slots__ = ("first", "most", "of", "queue", "running")

    def __init__(self, of: int, first: int, most: int) -> None:
        self.of = of
        """The agent's limit, of which this worker has those from number `first` on, `most` of them."""
        self.first = first
        self.most = most
        self.running = 0
        self.queue: deque[tuple[Lane, int]] = deque()
        """Busy lanes that have drawn an entry, with its number, and wait until another lane is through."""


class Entry:
    """One `MixOp`, ready for use."""

    __slots__ = (
        "drawers",
        "generation",
        "heads",
        "leased",
        "limit",
        "op",
        "recursive",
        "runtime",
        "shelves",
        "stream",
        "verify",
        "weight",
    )

    def __init__(
        self, op: MixOp, runtime: SetRuntime, shelves: dict[int, Shelf], limit: _Limit | None, seed: int
    ) -> None:
        self.op = op.op
        self.runtime = runtime
        self.generation = op.generation
        self.recursive = op.recursive
        self.weight = op.weight if limit is None or limit.most else 0.0
        self.limit = limit
        self.verify = op.verify and op.op is Op.GET
        self.leased = op.leased
        self.shelves = shelves
        self.drawers: list[Drawing] = [
            Drawer(draw, combine(seed, place), runtime.expect) for place, draw in enumerate(op.draws)
        ]
        self.heads: list[HeadsAhead] = []
        """By endpoint, where requests are made ahead."""
        self.stream: Stream | None = None

    def make_heads(self, endpoints: int) -> None:
        """Make requests ahead from now on."""
        drawers = self.drawers
        draws = [drawers[place if len(drawers) > 1 else 0].next for place in range(endpoints)]
        self.heads = [HeadsAhead(self.op, self.runtime, draw) for draw in draws]


class MixDriver(Driver):
    """Draws operations, and issues them as connections become free or as they are due."""

    def __init__(self, start: StartStage, context: WorkerContext, job: MixJob) -> None:
        super().__init__(start, context, job)
        self._job = job
        self._first_lane = start.first_lane if start.lanes else context.first_connection
        self._ends_ns = start.ends_ns
        self._drain = job.drain
        self._sized = context.sized_gets
        seed = combine(job.seed, start.stage, context.number)
        shelves = self._make_shelves(job)
        self._limits = self._make_limits(job)
        self._entries = [
            Entry(
                op,
                self._sets[op.set_id],
                shelves.get(op.set_id, {}) if op.leased else {},
                self._limits.get(op.group),
                combine(seed, number),
            )
            for number, op in enumerate(job.ops)
        ]
        if self._wire:
            endpoints = 1 + max((lane.endpoint for lane in context.lanes), default=-1)
            for entry, op in zip(self._entries, job.ops, strict=True):
                if _plain(op):
                    entry.make_heads(endpoints)
        self._streams = self._make_streams(job, seed)
        self._paced = [stream for stream in self._streams if stream.paced]
        self._unpaced = next((stream for stream in self._streams if not stream.paced), None)
        self._starved: list[Lane] = []
        """Lanes that rest until there are leases."""
        self._version = 0
        self._alarm = Alarm(context.loop, self._due) if self._paced else None
        self._waiting = Waiting(job.strategy, context.lanes)
        """Lanes that wait until an operation is due."""

    def _make_streams(self, job: MixJob, seed: int) -> list[Stream]:
        """Entries with a rate of their own by their groups, the others together."""
        together: dict[int, list[int]] = {}
        for number, op in enumerate(job.ops):
            rate = _rate_of(op, job)
            stream = _UNPACED if rate is None else _COMMON if op.io_rate is None else op.group
            together.setdefault(stream, []).append(number)
        streams = []
        for group, numbers in together.items():
            rate = _rate_of(job.ops[numbers[0]], job)
            weights = [self._entries[number].weight if _usable(job.ops[number]) else 0.0 for number in numbers]
            schedule = self._schedule(rate, group) if rate is not None else None
            made = Stream(numbers, weights, combine(seed, group), schedule)
            for number in numbers:
                self._entries[number].stream = made
            streams.append(made)
        return streams

    def _schedule(self, rate: IoRate, group: int) -> FleetSchedule | None:
        """This worker's part of the fleet's due times, from now on if the stage has begun already.

        The parts go by connections; those of an entry with a rate and a limit of its own by the limit, because a
        worker that may not be in it cannot do its part.
        """
        context, job = self._context, self._job
        fleet = job.fleet or FleetPart(0, context.connections)
        first, count, total = fleet.first + self._first_lane, len(self._active), fleet.total
        limit = self._limits.get(group)
        if limit is not None:
            first, count, total = fleet.agent * limit.of + limit.first, limit.most, fleet.agents * limit.of
        if not count:
            return None
        begin = job.start_ns or self._ends_ns - round(job.duration * 1e9)
        seed = combine(fleet.seed, group)
        schedule = FleetSchedule(rate.iops, rate.distribution, seed, begin, first, count, total)
        now = monotonic_ns()
        if begin < now:
            schedule.skip(now)
        return schedule

    def _make_limits(self, job: MixJob) -> dict[int, _Limit]:
        """This worker's part of the connections that may be in an entry at once, for those that have a limit."""
        workers, number = self._context.workers, self._context.number
        limits = {}
        for op in job.ops:
            if op.concurrency is not None:
                # Entries begin their deal at different workers, so that small limits do not all fall to the first.
                place = (number - op.group) % workers
                each, rest = divmod(op.concurrency, workers)
                first = place * each + min(place, rest)
                limits[op.group] = _Limit(op.concurrency, first, each + (place < rest))
        return limits

    def _make_shelves(self, job: MixJob) -> dict[int, dict[int, Shelf]]:
        lanes: dict[int, int] = {}
        for lane in self._active:
            lanes[lane.endpoint] = lanes.get(lane.endpoint, 0) + 1
        return {
            set_id: {endpoint: self.supply.shelf(set_id, endpoint, count * size) for endpoint, count in lanes.items()}
            for set_id, size in {op.set_id: max(job.lease_size, op.ahead) for op in job.ops if op.leased}.items()
        }

    def begin(self) -> None:
        for lane in self._lanes:
            lane.entry = -1
        wait = (self._ends_ns - monotonic_ns()) / 1e9
        self._timers.append(self._loop.call_later(max(0.0, wait), self.over))
        super().begin()

    def over(self) -> None:
        """The time is up: what is in flight counts, nothing new begins."""
        if not self._stopping:
            self._wind_down(self._drain)

    def _wind_down(self, grace: float) -> None:
        queued = [lane for limit in self._limits.values() for lane, _ in limit.queue]
        for limit in self._limits.values():
            limit.queue.clear()
        for lane in (*self._waiting.clear(), *queued):
            self._rest(lane)
        super()._wind_down(grace)

    def close(self) -> None:
        super().close()
        if self._alarm is not None:
            self._alarm.close()

    def _farewell(self) -> None:
        for stream in self._paced:
            behind = stream.behind(min(monotonic_ns(), self._ends_ns))
            lateness = Lateness(stream.begun, stream.late_ns, stream.latest_ns, behind)
            self._context.send(Paced(self.stage, lateness))

    def rest_endpoint(self, endpoint: int, until_ns: int) -> None:
        super().rest_endpoint(endpoint, until_ns)
        for lane in self._waiting.clear():
            if lane.endpoint in self._held and self._outages.holds(lane):
                self._rest(lane)
            else:
                self._waiting.add(lane)

    def _complete(self) -> bool:
        return not self._active or all(stream.mix.empty for stream in self._streams)

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
        waiting, number = limit.queue.popleft()
        if not self._begin(waiting, number):
            # There is nothing at hand for those who wait: they draw anew.
            others = [each for each, _ in limit.queue]
            limit.queue.clear()
            for each in (waiting, *others):
                self._draw(each, self._stream_of(number))

    def _next(self, lane: Lane, now: int) -> None:
        if self._limits and lane.entry >= 0:
            self._leave(lane, now)
        if self._stopping or now >= self._ends_ns:
            self._rest(lane)
            return
        lane.attempt = 1
        lane.due = 0
        if self._paced:
            stream = self._earliest()
            if stream is not None and stream.due <= now:
                lane.due = stream.take(now)
                self._draw(lane, stream)
                return
            if stream is not None and (self._unpaced is None or self._unpaced.mix.empty):
                if not self._waiting and self._alarm is not None:
                    self._alarm.set(stream.due)
                self._waiting.add(lane)
                return
        self._draw(lane, self._unpaced or self._streams[0])

    def _earliest(self) -> Stream | None:
        """The stream whose next operation is due first; None if there will be none any more."""
        found = None
        for stream in self._paced:
            if (found is None or stream.due < found.due) and not stream.mix.empty:
                found = stream
        return found

    def _due(self) -> None:
        """Issue what is due, and set the alarm for what is next."""
        if self._paused:
            return
        waiting = self._waiting
        now = monotonic_ns()
        while waiting:
            stream = self._earliest()
            if stream is None:
                for lane in waiting.clear():
                    self._rest(lane)
                return
            if stream.due > now:
                assert self._alarm is not None
                self._alarm.set(stream.due)
                return
            lane = waiting.pop()
            lane.due = stream.take(now)
            self._draw(lane, stream)

    def _stream_of(self, entry: int) -> Stream:
        stream = self._entries[entry].stream
        assert stream is not None
        return stream

    def _draw(self, lane: Lane, stream: Stream) -> None:
        """Draw an operation and issue it, or wait for what it needs."""
        for _ in range(TRIES):
            if stream.mix.empty:
                break
            number = stream.next()
            if self._limits:
                limit = self._entries[number].limit
                if limit is not None and limit.running >= limit.most:
                    limit.queue.append((lane, number))
                    return
            if self._begin(lane, number):
                return
        if stream.mix.empty and not self._complete():
            self._next(lane, monotonic_ns())
            return
        self._starved.append(lane)
        self._rest(lane)

    def _begin(self, lane: Lane, number: int) -> bool:
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
                    self._stream_of(number).exhaust(number)
                return False
            index, held = taken
            if not held.lease.lease_id:
                held = None
        elif entry.heads:
            made = entry.heads[lane.endpoint].take(cast(WireConnection, lane.connection))
            if made is None:
                return False
            index, lane.request.key, lane.request.made = made
        else:
            drawers = entry.drawers
            drawer = drawers[lane.endpoint] if len(drawers) > 1 else drawers[0]
            drawn = drawer.next()
            if drawn is None:
                return False
            index = drawn
        lane.held = held
        lane.index = index
        lane.entry = number
        if entry.limit is not None:
            entry.limit.running += 1
        self._send(lane, entry, index, held)
        return True

    def _send(self, lane: Lane, entry: Entry, index: int, held: Held | None) -> None:
        runtime = entry.runtime
        op = entry.op
        if op is Op.PUT:
            if entry.leased:
                assert held is not None
                self.put(lane, runtime, index, held.lease.generation, 0)
            else:
                self._version += 1
                self.put(lane, runtime, index, entry.generation, self._version)
            return
        request = lane.request
        request.op = op
        if not request.made:
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
            if entry.leased and entry.weight:
                self._stream_of(number).restore(number, entry.weight)
        super().more_work(message)

    def _wake(self, endpoint: int | None) -> None:
        starved, self._starved = self._starved, []
        for lane in starved:
            if endpoint is None or lane.endpoint == endpoint:
                self._resume(lane)
            else:
                self._starved.append(lane)
