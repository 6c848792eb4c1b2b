"""Operations of several requests, of whichever stage: who issues which of them, and how the operation ends."""

from __future__ import annotations

from collections import deque
from time import monotonic_ns

from sai3tui.agent.lease import Job
from sai3tui.agent.worker.driver import CANCELLED, FAILED_PAUSE_S, Driver, WorkerContext
from sai3tui.agent.worker.lane import Lane
from sai3tui.agent.worker.messages import StartStage
from sai3tui.agent.worker.steps import Steps
from sai3tui.errors import RETRYABLE, ErrorKind, Failure, Sai3Error, failure_of
from sai3tui.storage.engine import OK, Connection
from sai3tui.storage.s3wire import WireConnection


class SteppingDriver(Driver):
    """What a driver is made of, besides what draws operations, if some of them are `Steps`."""

    def __init__(self, start: StartStage, context: WorkerContext, job: Job) -> None:
        super().__init__(start, context, job)
        self._steps: dict[int, Steps] = {}
        """By number of the lane that has a request of it in flight."""
        self._open: dict[int, deque[Steps]] = {lane.endpoint: deque() for lane in self._lanes}
        """By endpoint, operations that other lanes can help with."""

    def _wind_down(self, grace: float) -> None:
        waiting = [lane for lane in self._lanes if lane.backoff is not None and lane.plain.tag in self._steps]
        for lane in waiting:
            # A part that was to be tried again: there is no time for it any more.
            assert lane.backoff is not None
            lane.backoff.cancel()
            lane.backoff = None
        super()._wind_down(grace)
        for lane in waiting:
            steps = self._steps[lane.plain.tag]
            steps.cancelled = True
            steps.in_flight -= 1
            self._continue(lane, steps, monotonic_ns())

    def _begin_steps(self, lane: Lane, steps: Steps) -> None:
        steps.due = lane.due
        self._continue(lane, steps, monotonic_ns())
        if steps.most > 1:
            self._open[lane.endpoint].append(steps)

    def _help(self, lane: Lane) -> bool:
        """Have the lane do a part of an operation that another one has begun, if there is any."""
        waiting = self._open[lane.endpoint]
        for steps in waiting:
            if steps.left:
                lane.due = 0
                self._continue(lane, steps, monotonic_ns())
                return True
        return False

    def _continue(self, lane: Lane, steps: Steps, now: int) -> None:
        """Issue the operation's next request on the lane, or end the operation, or leave it to the other lanes."""
        request = steps.next(lane)
        if request is not None:
            request.tag = lane.plain.tag
            request.index = steps.index
            lane.request = request
            lane.attempt = 1
            steps.in_flight += 1
            self._steps[request.tag] = steps
            lane.connection.issue(request)
            return
        lane.request = lane.plain
        self._steps.pop(lane.plain.tag, None)
        if steps.in_flight:
            self._leave_to_others(lane, steps)
            self._proceed(lane)
            return
        self._end_steps(lane, steps, now)

    def _end_steps(self, lane: Lane, steps: Steps, now: int) -> None:
        waiting = self._open[lane.endpoint]
        if steps in waiting:
            waiting.remove(steps)
        self._take_over(lane, steps)
        self._settle_steps(lane, steps, now)
        self._through_with(lane, steps, now)
        if steps.cancelled or self._stopping:
            self._rest(lane)
        elif steps.failure is not None:
            lane.backoff = self._loop.call_later(FAILED_PAUSE_S, self._after_pause, lane)
        else:
            self._proceed(lane)

    def _settle_steps(self, lane: Lane, steps: Steps, now: int) -> None:
        """Record how the operation has ended."""
        if steps.cancelled:
            self._recorder.retry(steps.op, lane.endpoint, steps.size)
            return
        if steps.failure is not None:
            self._steps_failed(lane, steps, steps.failure)
            return
        self._steps_done(lane, steps)
        self._record(steps.op, lane.endpoint, steps.size, steps.due or steps.t0, steps.t0, steps.t_first, now)
        lane.held = None

    def _steps_failed(self, lane: Lane, steps: Steps, failure: Failure) -> None:
        self._give_up(lane, steps.op, steps.size, failure)

    def _steps_done(self, lane: Lane, steps: Steps) -> None:
        if steps.held is not None:
            self.supply.done(steps.held, steps.index)

    def _leave_to_others(self, lane: Lane, steps: Steps) -> None:
        """The lane begins something else, and another one will end the operation: with what belongs to it."""
        return

    def _take_over(self, lane: Lane, steps: Steps) -> None:
        """The lane ends the operation, which another one may have begun."""
        lane.held, lane.index = steps.held, steps.index

    def _through_with(self, lane: Lane, steps: Steps, now: int) -> None:
        """How the operation has ended is recorded."""
        return

    def _invite(self, endpoint: int, steps: Steps) -> None:
        """There is something to do for other lanes of this endpoint."""
        return

    def on_done(self, connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
        request = connection.request
        assert request is not None
        lane = self._lanes[request.tag]
        steps = self._steps.get(request.tag)
        if steps is None:
            super().on_done(connection, status, size, t0, t_first, t_last)
            return
        steps.t0 = steps.t0 or t0
        steps.t_first = steps.t_first or t_first or t_last
        if status != OK:
            failure = connection.failure or Failure(ErrorKind(status - 1), "the operation failed")
            self._step_failed(lane, steps, failure, t0, t_last)
            return
        if self._suspects:
            self._outages.succeeded(lane.endpoint)
        answer = connection.answer if isinstance(connection, WireConnection) else None
        steps.in_flight -= 1
        try:
            steps.done(request, answer)
        except Sai3Error as error:
            steps.failure = steps.failure or failure_of(error)
        self._continue(lane, steps, t_last)
        if steps.left and not self._stopping:
            self._invite(lane.endpoint, steps)

    def _step_failed(self, lane: Lane, steps: Steps, failure: Failure, t0: int, now: int) -> None:
        if self._cancelling and failure.context.subclass == CANCELLED:
            steps.cancelled = True
            steps.in_flight -= 1
            self._continue(lane, steps, now)
            return
        if self._rests and failure.kind in RETRYABLE:
            self._outages.failed(lane.endpoint, failure)
        if steps.given_up:
            # It was to be the end of the operation, which has failed already.
            self._attempts.failed(failure, lane.endpoint, steps.op, retried=False)
        elif self._tries_again(lane, failure, t0):
            return
        else:
            steps.failure = failure
        steps.in_flight -= 1
        self._continue(lane, steps, now)
