"""What all stages of a worker have in common: operations are issued, complete, are tried again, and end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import cast

from sai3tui.agent.clock import agent_clock
from sai3tui.agent.lease import Job, SetSpec
from sai3tui.agent.worker.ahead import PutsAhead
from sai3tui.agent.worker.attempts import AttemptLog
from sai3tui.agent.worker.lane import Lane, SetRuntime, backoff_s
from sai3tui.agent.worker.messages import AttemptsFailed, FailuresSeen, Granted, Idle, MoreWork, StartStage
from sai3tui.agent.worker.outages import Outages
from sai3tui.agent.worker.supply import Supply
from sai3tui.clock import Clock
from sai3tui.config.ops import Op
from sai3tui.errors import RETRYABLE, ErrorKind, Failure
from sai3tui.metrics.recorder import Recorder
from sai3tui.storage.engine import OK, Connection
from sai3tui.storage.s3wire import WireConnection
from sai3tui.workload.content import Payload, Words

FAILED_PAUSE_S = 0.1
"""After an operation that failed for good, its connection rests: a storage that refuses at once is not to be asked as
fast as a loop can go round."""

FAILURES_AT_ONCE = 16
"""So many failures of a cause are told at once, so that a limit to them is not passed by far."""

_REMOVALS = (Op.DELETE, Op.RMDIR)

CANCELLED = "cancelled"
"""Subclass of the failure of an operation that `Connection.cancel` ended."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What drivers need of the worker they run in.

    `first_connection` is the number of its first one among the agent's `connections`. `sized_gets`: the engine takes
    the size of a GET from its request.
    """

    loop: asyncio.AbstractEventLoop
    lanes: Sequence[Lane]
    recorder: Recorder
    send: Callable[[object], None]
    number: int = 0
    first_connection: int = 0
    connections: int = 1
    sized_gets: bool = False
    workers: int = 1
    pools: dict[int, Words] = field(default_factory=dict)
    clock: Clock = field(default_factory=agent_clock)
    """The agent's."""


class Driver(ABC):
    """Drives the lanes of a worker through one stage."""

    def __init__(self, start: StartStage, context: WorkerContext, job: Job) -> None:
        self.stage = start.stage
        self._context = context
        self._loop = context.loop
        self._lanes = context.lanes
        self._active = active_lanes(context.lanes, start.lanes)
        """Those that take part in the stage."""
        self._recorder = context.recorder
        self._record = context.recorder.success
        self._retry = job.retry
        self._start_ns = job.start_ns
        self._missing_is_done = False
        self._sets = {spec.set_id: runtime_of(spec, context) for spec in job.sets}
        self.supply = Supply(start.stage, context.send, context.loop.call_soon, context.loop.call_later)
        self._wire = all(isinstance(lane.connection, WireConnection) for lane in context.lanes)
        self._puts_ahead = self._wire and all(
            cast(WireConnection, lane.connection).maker.plain_put for lane in context.lanes
        )
        self._payload_ahead = Payload()
        self._busy = 0
        self._started = False
        self._stopping = False
        """Begin nothing; what is in flight may end."""
        self._cancelling = False
        """What ends by being cancelled is none of the storage's failures."""
        self._idle_sent = False
        self._heard = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._failures: dict[tuple[ErrorKind, str, int, str], tuple[int, Failure]] = {}
        self._attempts = AttemptLog(context.clock)
        self._rests = job.rests
        self._outages = Outages(start.stage, context.send, context.loop.call_later, self._resume, self._opened)
        self._suspects = self._outages.suspects
        self._held = self._outages.held
        self._paused = False
        """Errors came too fast: begin nothing until a timer says so."""
        self._parked: list[Lane] = []
        """Busy lanes that wait for the end of a pause."""

    # --- from the main process ---

    def begin(self) -> None:
        """Start at the time that was set, or now."""
        wait = (self._start_ns - monotonic_ns()) / 1e9
        if wait > 0:
            self._timers.append(self._loop.call_later(wait, self._go))
        else:
            self._go()

    def granted(self, message: Granted) -> None:
        shelf = self.supply.granted(message)
        if self._started and not self._stopping and shelf.available:
            self._wake(message.endpoint)
        self._check()

    def more_work(self, message: MoreWork) -> None:
        self._heard = message.call
        self._idle_sent = False
        if not self._stopping:
            self.supply.more_work()
        self._check()

    def pause(self, until_ns: int) -> None:
        """Begin nothing before `until_ns` (monotonic); what is in flight goes on."""
        if self._stopping or self._paused:
            return
        self._paused = True
        wait = max(0.0, (until_ns - monotonic_ns()) / 1e9)
        self._timers.append(self._loop.call_later(wait, self._unpause))

    def _unpause(self) -> None:
        self._paused = False
        parked, self._parked = self._parked, []
        for lane in parked:
            self._proceed(lane)

    def _proceed(self, lane: Lane) -> None:
        """Go on with a busy lane that has nothing in flight, now or after the pause."""
        if self._paused:
            self._parked.append(lane)
        elif lane.endpoint in self._held and self._outages.holds(lane):
            self._rest(lane)
        else:
            self._next(lane, monotonic_ns())

    def rest_endpoint(self, endpoint: int, until_ns: int) -> None:
        """Begin nothing at an endpoint before `until_ns` (monotonic), then try it. 0: go on."""
        if not self._stopping:
            self._outages.rest(endpoint, until_ns)

    def _opened(self, endpoint: int) -> None:
        """An endpoint that has rested is tried, or works again."""
        return

    def stop(self, grace: float) -> None:
        """Begin nothing any more; after `grace` seconds, cancel what is in flight. A second call can only be
        shorter."""
        self._cancelling = True
        self._wind_down(grace)

    def _wind_down(self, grace: float) -> None:
        self._stopping = True
        self._outages.close()
        self._paused = False
        self.supply.stop()
        parked, self._parked = self._parked, []
        for lane in parked:
            self._rest(lane)
        for lane in self._lanes:
            if lane.backoff is not None:
                lane.backoff.cancel()
                lane.backoff = None
                self._rest(lane)
        self._check()
        if self._busy:
            self._timers.append(self._loop.call_later(grace, self._cancel))

    def _cancel(self) -> None:
        for lane in self._lanes:
            if lane.busy:
                lane.connection.cancel()

    def close(self) -> None:
        """Forget all timers."""
        self._outages.close()
        for timer in self._timers:
            timer.cancel()

    # --- operations ---

    def _go(self) -> None:
        self._started = True
        for lane in self._active:
            if self._stopping:
                break
            self._busy += 1
            lane.busy = True
            self._proceed(lane)
        self._check()

    @abstractmethod
    def _next(self, lane: Lane, now: int) -> None:
        """Issue the next operation of a busy lane, or `_rest` it. `now` is monotonic, in nanoseconds."""

    @abstractmethod
    def _wake(self, endpoint: int | None) -> None:
        """There are new indices for lanes of this endpoint (None: of any) that rest."""

    @abstractmethod
    def _complete(self) -> bool:
        """Whether there is nothing left to do, given that no lane is busy."""

    def _resume(self, lane: Lane) -> None:
        """Make a resting lane busy."""
        lane.busy = True
        self._busy += 1
        self._proceed(lane)

    def _rest(self, lane: Lane) -> None:
        lane.busy = False
        lane.held = None
        self._busy -= 1
        if not self._busy:
            self._check()

    def on_done(self, connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
        """See `storage.engine.OnDone`."""
        request = connection.request
        assert request is not None
        lane = self._lanes[request.tag]
        if status != OK:
            failure = connection.failure or Failure(ErrorKind(status - 1), "the operation failed")
            missing = failure.kind is ErrorKind.NOT_FOUND and request.op in _REMOVALS and self._missing_is_done
            if not missing:
                self._failed(lane, failure, t0)
                return
        self._record(request.op, lane.endpoint, size, lane.due or t0, t0, t_first or t_last, t_last)
        held = lane.held
        if held is not None:
            self.supply.done(held, lane.index)
        if self._suspects:
            self._outages.succeeded(lane.endpoint)
        if self._paused or self._held:
            self._proceed(lane)
        else:
            self._next(lane, t_last)

    def on_resent(self, connection: Connection, failure: Failure, t0: int) -> None:
        """See `storage.engine.OnResent`: one more attempt, of the same operation."""
        request = connection.request
        assert request is not None
        lane = self._lanes[request.tag]
        lane.due = lane.due or t0
        self._recorder.retry(request.op, lane.endpoint, self._size_of(lane))
        self._attempts.failed(failure, lane.endpoint, request.op, retried=True)

    def _failed(self, lane: Lane, failure: Failure, t0: int) -> None:
        request = lane.request
        size = self._size_of(lane)
        if self._cancelling and failure.context.subclass == CANCELLED:
            self._recorder.retry(request.op, lane.endpoint, size)
            self._rest(lane)
            return
        if self._rests and failure.kind in RETRYABLE:
            self._outages.failed(lane.endpoint, failure)
            if lane.endpoint in self._held and not self._stopping and self._hand_over(lane, failure):
                return
        exhausted = failure.kind in RETRYABLE and lane.attempt > self._retry.max_retries and not self._stopping
        if exhausted and self._last_resort(lane, failure):
            return
        if self._tries_again(lane, failure, t0):
            return
        self._give_up(lane, request.op, size, failure)
        if self._stopping or failure.kind is ErrorKind.NOT_FOUND:
            self._proceed(lane)
        else:
            lane.backoff = self._loop.call_later(FAILED_PAUSE_S, self._after_pause, lane)

    def _hand_over(self, lane: Lane, failure: Failure) -> bool:
        """Let a connection to another endpoint do what failed at one that rests; whether that is possible."""
        del lane, failure
        return False

    def _last_resort(self, lane: Lane, failure: Failure) -> bool:
        """Do something else with what was tried as often as is allowed; whether there is something."""
        del lane, failure
        return False

    def _tries_again(self, lane: Lane, failure: Failure, t0: int) -> bool:
        """Have the request of the lane issued again after a while, if it may be; whether it will."""
        op = lane.request.op
        again = failure.kind in RETRYABLE and lane.attempt <= self._retry.max_retries and not self._stopping
        self._attempts.failed(failure, lane.endpoint, op, retried=again)
        if again:
            self._recorder.retry(op, lane.endpoint, self._size_of(lane))
            lane.due = lane.due or t0
            wait = backoff_s(self._retry, lane.attempt)
            lane.attempt += 1
            lane.backoff = self._loop.call_later(wait, self._again, lane)
        return again

    def _give_up(self, lane: Lane, op: Op, size: int, failure: Failure) -> None:
        """An operation, which would have moved `size` bytes, has failed for good."""
        self._recorder.failure(op, lane.endpoint, size)
        context = failure.context
        cause = (failure.kind, context.subclass, context.http_status, context.endpoint)
        count, sample = self._failures.get(cause, (0, failure))
        self._failures[cause] = (count + 1, sample)
        if count + 1 >= FAILURES_AT_ONCE:
            self.tick()
        if lane.held is not None:
            self.supply.failed(lane.held, lane.index, failure)
            lane.held = None

    def _again(self, lane: Lane) -> None:
        lane.backoff = None
        lane.connection.issue(lane.request)

    def _after_pause(self, lane: Lane) -> None:
        lane.backoff = None
        self._proceed(lane)

    def _size_of(self, lane: Lane) -> int:
        """The size that the operation would have moved."""
        return lane.request.size if lane.request.op is Op.PUT else 0

    def put(self, lane: Lane, runtime: SetRuntime, index: int, generation: int, version: int) -> None:
        """Issue the PUT of an object."""
        request = lane.request
        connection, held = lane.connection, lane.held
        made = None
        if self._puts_ahead and held is not None and not lane.moved:
            ahead = held.ahead
            if ahead is None:
                ahead = held.ahead = PutsAhead(held.lease, self._payload_ahead)
            made = ahead.take(cast(WireConnection, connection), runtime, generation, index)
        if made is not None:
            request.key, request.size, request.made = made
        else:
            request.key = runtime.key(index)
            request.size = runtime.size(index)
        # Also where it is made already: it may have to be sent again.
        payload = lane.payload
        payload.become(runtime.maker, generation, index, version, request.size)
        request.op = Op.PUT
        request.body = payload
        request.index = index
        connection.issue(request)

    # --- to the main process ---

    def tick(self) -> None:
        """Tell what has been seen of failures; called several times a second."""
        for count, sample in self._failures.values():
            self._context.send(FailuresSeen(self.stage, count, sample))
        self._failures.clear()
        attempts = self._attempts.take()
        if attempts:
            self._context.send(AttemptsFailed(self.stage, attempts))

    def _farewell(self) -> None:
        """Tell what is to be told at the end."""
        return

    def _check(self) -> None:
        """Report that the stage is over, once it is."""
        if self._busy or self._idle_sent or not (self._stopping or self._complete()):
            return
        if not self._stopping:
            # A mix can end before what it has at hand does: that is for others, or for nobody.
            self.supply.clear()
        if self.supply.unanswered:
            # What is granted at the last moment is given back before the end is told.
            return
        self._idle_sent = True
        self.supply.report()
        self._recorder.flush()
        self.tick()
        self._farewell()
        self._context.send(Idle(self.stage, self._heard))


def active_lanes(lanes: Sequence[Lane], wanted: tuple[int, ...]) -> Sequence[Lane]:
    """The first `wanted[e]` lanes of each endpoint e; all, where nothing is wanted."""
    if not wanted:
        return lanes
    left = list(wanted)
    found = []
    for lane in lanes:
        if left[lane.endpoint]:
            left[lane.endpoint] -= 1
            found.append(lane)
    return found


def runtime_of(spec: SetSpec, context: WorkerContext) -> SetRuntime:
    """The set as this worker uses it; pools of random words are shared."""
    return SetRuntime(spec, context.pools)
