"""A mix with operations that take more than one request or a part of an object, or that ends after some operations.

All of that is kept out of `MixDriver`, whose operations are one request each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sai3tui.agent.lease import BYTES, TURNS, MixJob, MixOp
from sai3tui.agent.worker.driver import WorkerContext
from sai3tui.agent.worker.fresh import FreshMixDriver
from sai3tui.agent.worker.lane import Lane
from sai3tui.agent.worker.messages import Granted, StartStage
from sai3tui.agent.worker.mix import Entry, MixDriver
from sai3tui.agent.worker.stepping import SteppingDriver
from sai3tui.agent.worker.steps import Batch, Download, Steps, Turn, Upload, part_bytes
from sai3tui.agent.worker.supply import Held, Shelf
from sai3tui.config.ops import Op
from sai3tui.errors import Failure
from sai3tui.storage.engine import OK, Connection
from sai3tui.storage.s3wire import WireConnection
from sai3tui.workload.rng import below, combine, splitmix64

MAX_TURNS_AT_HAND = 64
"""Turns that a connection has at hand at most, so that few are asked for often and many seldom."""


class SteppedMixDriver(SteppingDriver, MixDriver):
    """See the module."""

    def __init__(self, start: StartStage, context: WorkerContext, job: MixJob) -> None:
        super().__init__(start, context, job)
        self._ops: Sequence[MixOp] = job.ops
        self._turns: dict[int, Turn] = {}
        self._turn_shelf: Shelf | None = None
        if job.turns is not None:
            at_hand = job.turns // (8 * max(1, context.workers * len(self._active)))
            target = len(self._active) * max(2, min(MAX_TURNS_AT_HAND, at_hand))
            self._turn_shelf = self.supply.shelf(TURNS, 0, target)
        self._byte_turn = job.byte_turn
        self._allowance = 0
        """Bytes that this worker has leave to move; below 0 if its last operation took more."""
        self._byte_shelf: Shelf | None = None
        if job.until_bytes is not None:
            self._byte_shelf = self.supply.shelf(BYTES, 0, max(2, min(1024, job.byte_turns // (8 * context.workers))))
        self._made: dict[int, deque[int]] = {op.set_id: deque() for op in job.ops if op.made}
        self._points = combine(job.seed, start.stage, context.number, 1)

    # --- what is next ---

    def _next(self, lane: Lane, now: int) -> None:
        self._through(lane, now)
        if self._stopping or now >= self._ends_ns:
            self._rest(lane)
            return
        if self._help(lane):
            return
        if self._byte_shelf is not None and not self._take_bytes(lane, self._byte_shelf):
            return
        if self._turn_shelf is not None and not self._take_turn(lane, self._turn_shelf):
            return
        super()._next(lane, now)

    def _through(self, lane: Lane, now: int) -> None:
        """The lane has ended an operation, if it had one."""
        if lane.entry >= 0:
            self._end_turn(lane)
            self._leave(lane, now)

    def _take_bytes(self, lane: Lane, shelf: Shelf) -> bool:
        """Whether the lane may begin an operation; else it rests until there is leave to move more bytes."""
        while self._allowance <= 0:
            taken = shelf.take()
            if shelf.short():
                self.supply.need()
            if taken is None:
                self._starved.append(lane)
                self._rest(lane)
                return False
            self.supply.done(taken[1], taken[0])
            self._allowance += self._byte_turn
        return True

    def _take_turn(self, lane: Lane, shelf: Shelf) -> bool:
        """Whether the lane may begin an operation; else it rests until there are turns."""
        if lane.request.tag in self._turns:
            return True
        taken = shelf.take()
        if shelf.short():
            self.supply.need()
        if taken is None:
            self._starved.append(lane)
            self._rest(lane)
            return False
        self._turns[lane.request.tag] = taken[1], taken[0]
        return True

    def _end_turn(self, lane: Lane) -> None:
        turn = self._turns.pop(lane.request.tag, None)
        if turn is not None:
            self.supply.done(*turn)

    def _rest(self, lane: Lane) -> None:
        if lane.entry >= 0:
            self._end_turn(lane)
        super()._rest(lane)

    def _complete(self) -> bool:
        shelf, more = self._turn_shelf, self._byte_shelf
        if shelf is not None and shelf.exhausted:
            return True
        if more is not None and more.exhausted and self._allowance <= 0:
            return True
        return super()._complete()

    def granted(self, message: Granted) -> None:
        super().granted(message)
        if message.set_id in (TURNS, BYTES) and message.lease is not None and self._started and not self._stopping:
            self._wake(None)

    # --- operations ---

    def _begin(self, lane: Lane, number: int) -> bool:
        op = self._ops[number]
        if not op.made:
            return super()._begin(lane, number)
        made = self._made[op.set_id]
        if not made:
            return False
        entry = self._entries[number]
        lane.index, lane.entry, lane.held = made.popleft(), number, None
        if entry.limit is not None:
            entry.limit.running += 1
        self._send(lane, entry, lane.index, None)
        return True

    def _send(self, lane: Lane, entry: Entry, index: int, held: Held | None) -> None:
        op = self._ops[lane.entry]
        size = entry.runtime.size(index)
        lane.plain.length = -1
        self._allowance -= self._bytes_of(op, size)
        if op.part_size and size > op.part_size and isinstance(lane.connection, WireConnection):
            self._version += held is None
            generation = held.lease.generation if held is not None else entry.generation
            version = 0 if held is not None else self._version
            upload = Upload(entry.runtime, index, held, generation, version, part_bytes(op.part_size))
            self._begin_steps(lane, upload)
        elif op.split is not None and size >= max(1, op.split[1]):
            chunk, _, most = op.split
            self._begin_steps(lane, Download(entry.runtime, index, entry.generation, entry.verify, chunk, most))
        elif op.delete_many > 1 and held is not None and isinstance(lane.connection, WireConnection):
            self._begin_steps(lane, self._batch(lane, lane.connection, entry, op.delete_many, (index, held)))
        elif op.read_range is not None and size:
            # There is no part of an empty object that could be asked for.
            self._read_range(lane, entry, op, index, size)
        else:
            super()._send(lane, entry, index, held)

    def _bytes_of(self, op: MixOp, size: int) -> int:
        """How many bytes an operation moves."""
        if op.op is Op.GET and op.read_range is not None:
            return min(size, op.read_range.size)
        return size if op.op in (Op.GET, Op.PUT) else 0

    def _read_range(self, lane: Lane, entry: Entry, op: MixOp, index: int, size: int) -> None:
        wanted = op.read_range
        assert wanted is not None
        places = max(0, size - wanted.size) // wanted.align + 1
        request = lane.plain
        request.op = Op.GET
        request.key = entry.runtime.key(index)
        request.index = index
        self._points = splitmix64(self._points)
        request.offset = below(self._points, places) * wanted.align
        request.length = min(wanted.size, size - request.offset)
        request.size = request.length if self._sized else 0
        request.sink = None
        if entry.verify:
            lane.verify(entry.runtime, entry.generation, index, request.offset, request.length)
        lane.connection.issue(request)

    def _batch(self, lane: Lane, connection: WireConnection, entry: Entry, most: int, first: tuple[int, Held]) -> Batch:
        """As many objects as are at hand, up to `most`."""
        taken = [first]
        shelf = entry.shelves[lane.endpoint]
        while len(taken) < most and (more := shelf.take()) is not None:
            taken.append(more)
        if shelf.short():
            self.supply.need()
        return Batch([connection.key_prefix + entry.runtime.key(index) for index, _ in taken], taken)

    def _size_of(self, lane: Lane) -> int:
        if lane.request.op is Op.GET:
            return max(0, lane.request.length) or super()._size_of(lane)
        return super()._size_of(lane)

    # --- operations of several requests ---

    def _leave_to_others(self, lane: Lane, steps: Steps) -> None:
        if lane.entry >= 0:
            steps.entry, lane.entry = lane.entry, -1
            steps.turn = self._turns.pop(lane.plain.tag, None)

    def _take_over(self, lane: Lane, steps: Steps) -> None:
        super()._take_over(lane, steps)
        if steps.entry >= 0:
            # The lane that began it has left. What belongs to it ends here, but not a turn that this lane has itself.
            if steps.turn is not None:
                self.supply.done(*steps.turn)
            lane.entry = steps.entry

    def _through_with(self, lane: Lane, steps: Steps, now: int) -> None:
        if steps.entry >= 0:
            self._leave(lane, now)

    def _steps_failed(self, lane: Lane, steps: Steps, failure: Failure) -> None:
        super()._steps_failed(lane, steps, failure)
        if isinstance(steps, Batch):
            for index, held in steps.taken:
                self.supply.failed(held, index, failure)

    def _steps_done(self, lane: Lane, steps: Steps) -> None:
        if isinstance(steps, Batch):
            self._end_batch(lane, steps)
            return
        super()._steps_done(lane, steps)
        if steps.held is not None:
            self._uploaded(lane)

    def _uploaded(self, lane: Lane) -> None:
        """The lane has completed a new object."""

    def _end_batch(self, lane: Lane, batch: Batch) -> None:
        for place, (index, held) in enumerate(batch.taken):
            refused = batch.refused.get(place)
            if refused is None:
                self.supply.done(held, index)
                continue
            lane.held, lane.index = held, index
            self._give_up(lane, Op.DELETE, 0, refused)

    def on_done(self, connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
        request = connection.request
        assert request is not None
        if status == OK and request.op is Op.MKDIR and (made := self._made_by(self._lanes[request.tag])) is not None:
            made.append(self._lanes[request.tag].index)
            self._wake(None)
        super().on_done(connection, status, size, t0, t_first, t_last)

    def _made_by(self, lane: Lane) -> deque[int] | None:
        return self._made.get(self._entries[lane.entry].runtime.set_id) if lane.entry >= 0 else None


class SteppedFreshMixDriver(SteppedMixDriver, FreshMixDriver):
    """Both."""

    def _uploaded(self, lane: Lane) -> None:
        self._remember(lane)
