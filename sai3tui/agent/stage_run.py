"""One stage of the worker pool: who has which lease, who is idle, when it is over, and why."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence

from sai3tui.agent.lease import ErrorBrake, Job, LeaseSource, MixJob, MovableSource
from sai3tui.agent.outage import EndpointRests
from sai3tui.agent.worker.handle import WorkerHandle
from sai3tui.agent.worker.messages import (
    AttemptsFailed,
    EndMix,
    EndpointBack,
    EndpointFailing,
    FailuresSeen,
    Finished,
    Granted,
    Idle,
    MoreWork,
    Paced,
    Pause,
    RestEndpoint,
    Settled,
    StartStage,
    StopStage,
    Unused,
    Wanted,
)
from sai3tui.errors import RETRYABLE, Failure, failure_of
from sai3tui.events import AttemptStats, Lateness, merge_attempts
from sai3tui.tasks import Tasks

STOP_MARGIN_S = 2.0
"""What a worker may need, beyond its grace or drain time, to say that it is idle; then it is killed."""
FAIL_GRACE_S = 2.0
"""Grace of operations in flight when a stage fails."""


class StageRun:
    """Lives as long as the stage. `workers` yields those that live; everything happens on one loop. `on_pause` is told
    how many operations had failed when the brake of the job was pulled, `on_endpoint` for how many seconds an endpoint
    is taken out and why, or (0, None) that it answers again."""

    def __init__(
        self,
        number: int,
        job: Job,
        source: LeaseSource,
        ends_ns: int,
        workers: Callable[[], Sequence[WorkerHandle]],
        on_pause: Callable[[ErrorBrake, int], None] | None = None,
        lanes: Sequence[tuple[int, ...]] = (),
        endpoints: int = 1,
        on_endpoint: Callable[[int, float, Failure | None], None] = lambda *_: None,
    ) -> None:
        self.number = number
        self.job = job
        self.done = asyncio.Event()
        """Nothing is left to do and nobody is doing anything."""
        self.stopping = False
        self.failure: Failure | None = None
        self.lateness: Lateness | None = None
        """How the schedules of a mix were kept, as far as workers have told."""
        self.deaths = 0
        self.recovering = 0
        """Dead workers that are not replaced yet."""
        self.failed_attempts: list[AttemptStats] = []
        """Since the stage began."""
        self._on_pause = on_pause
        self._recent: deque[tuple[float, int]] = deque()
        """When how many operations failed, as far back as the brake looks."""
        self._paused_until = 0.0
        self._rests = EndpointRests(endpoints)
        self._on_endpoint = on_endpoint
        self._source = source
        self._ends_ns = ends_ns
        self._lanes = lanes
        """Of each worker, the connections that take part; empty: all of all."""
        self._workers = workers
        self._granting = 0
        self._errors = 0
        self._closed = False
        self._tasks = Tasks(lambda error: self.fail(failure_of(error)))

    def begin(self, workers: Sequence[WorkerHandle], seconds: float) -> None:
        """Start on all workers. `seconds`: how long from now a mix lasts; 0: no limit."""
        for worker in workers:
            self.begin_on(worker)
        if isinstance(self.job, MixJob):
            self._tasks.spawn(self._enforce(seconds + self.job.drain + STOP_MARGIN_S))

    def begin_on(self, worker: WorkerHandle) -> None:
        """Start on a worker that does nothing."""
        worker.leases.clear()
        worker.idle = False
        worker.calls = 0
        lanes: tuple[int, ...] = ()
        first = 0
        if self._lanes:
            lanes = self._lanes[worker.number]
            first = sum(map(sum, self._lanes[: worker.number]))
        worker.send(StartStage(self.number, self.job, self._ends_ns, lanes, first))

    async def close(self) -> None:
        """End what still goes on here, and give back leases that nobody finished."""
        self._closed = True
        await self._tasks.close()
        for worker in self._workers():
            self.give_back(worker)

    # --- messages ---

    def on_message(self, worker: WorkerHandle, message: object) -> None:
        """What a worker says; messages of earlier stages are ignored."""
        match message:
            case Wanted(stage, wants) if stage == self.number:
                for set_id, endpoint, count in wants:
                    self._granting += 1
                    self._tasks.spawn(self._grant(worker, set_id, endpoint, count))
            case Finished(stage, leases) if stage == self.number:
                for settled in leases:
                    self._settle(worker, settled)
            case Unused(stage, unused) if stage == self.number:
                for lease_id, count in unused:
                    self._unused(worker, lease_id, count)
            case FailuresSeen(stage, count, sample) if stage == self.number:
                self._errors += count
                limit = self.job.max_errors
                if limit is not None and self._errors > limit:
                    self.fail(sample)
                elif sample.kind in RETRYABLE and not self._rests.out_by_name(sample.context.endpoint):
                    self._brake(count)
            case AttemptsFailed(stage, attempts) if stage == self.number:
                self.failed_attempts = merge_attempts([self.failed_attempts, attempts])
            case EndpointFailing(stage, endpoint, failure) if stage == self.number:
                self._endpoint_failing(worker, endpoint, failure)
            case EndpointBack(stage, endpoint) if stage == self.number:
                if self._rests.back(endpoint):
                    self._move(endpoint, out=False)
                    self.more_work()
                    self._on_endpoint(endpoint, 0.0, None)
            case Paced(stage, lateness) if stage == self.number:
                self.lateness = lateness if self.lateness is None else self.lateness + lateness
            case Idle(stage, heard) if stage == self.number and heard == worker.calls:
                worker.idle = True
                self.check()
            case _:
                pass

    def _brake(self, failed: int) -> None:
        """So many operations have failed: have the workers pause if that is too fast."""
        brake, now = self.job.brake, time.monotonic()
        if brake is None or self.stopping or now < self._paused_until:
            return
        recent = self._recent
        recent.append((now, failed))
        while recent[0][0] < now - brake.window:
            recent.popleft()
        count = sum(each for _, each in recent)
        if count <= brake.rate * brake.window:
            return
        recent.clear()
        self._paused_until = now + brake.pause
        for worker in self._workers():
            worker.send(Pause(self.number, time.monotonic_ns() + round(brake.pause * 1e9)))
        if self._on_pause is not None:
            self._on_pause(brake, count)

    def _endpoint_failing(self, worker: WorkerHandle, endpoint: int, failure: Failure) -> None:
        now = time.monotonic()
        was_out = self._rests.out(endpoint)
        until = self._rests.failing(endpoint, now, failure.context.endpoint)
        if self.stopping:
            return
        if until is None:
            worker.send(RestEndpoint(self.number, endpoint, 0))
            return
        for each in self._workers():
            each.send(RestEndpoint(self.number, endpoint, round(until * 1e9)))
        self._move(endpoint, out=True)
        self.more_work()
        if not was_out:
            self._on_endpoint(endpoint, until - now, failure)

    def _move(self, endpoint: int, *, out: bool) -> None:
        if isinstance(self._source, MovableSource):
            self._source.taken_out(endpoint, out=out)

    async def _grant(self, worker: WorkerHandle, set_id: int | None, endpoint: int, count: int) -> None:
        try:
            while count > 0 and not self.stopping and not worker.gone:
                lease = await self._source.grant(endpoint, count, set_id)
                if lease is None:
                    break
                if worker not in self._workers():
                    # It died meanwhile.
                    if lease.lease_id:
                        self._source.lost(lease.lease_id)
                    self.more_work()
                    return
                if lease.lease_id:
                    worker.leases[lease.lease_id] = lease.count
                answered = min(count, lease.count)
                count -= answered
                worker.send(Granted(self.number, set_id, endpoint, answered, lease))
        except Exception as error:
            # Whatever a source cannot do ends the stage with its cause.
            self.fail(failure_of(error))
        finally:
            if count > 0 and not worker.gone:
                worker.send(Granted(self.number, set_id, endpoint, count, None))
            self._granting -= 1
            self.check()

    def _settle(self, worker: WorkerHandle, settled: Settled) -> None:
        left = worker.leases.get(settled.lease_id)
        if left is None:
            return
        done = array("Q")
        done.frombytes(settled.done)
        left -= len(done) + len(settled.failed)
        if left > 0:
            worker.leases[settled.lease_id] = left
        else:
            del worker.leases[settled.lease_id]
        try:
            self._source.finished(settled.lease_id, done, settled.failed)
        except Exception as error:
            self.fail(failure_of(error))

    def _unused(self, worker: WorkerHandle, lease_id: int, count: int) -> None:
        left = worker.leases.pop(lease_id, None)
        if left is None:
            return
        if left > count:
            worker.leases[lease_id] = left - count
        try:
            self._source.unused(lease_id, count)
        except Exception as error:
            self.fail(failure_of(error))

    # --- the end ---

    def check(self) -> None:
        """See whether the stage is over."""
        if self._granting or self.recovering:
            return
        if all(worker.idle for worker in self._workers()):
            self.done.set()

    def give_back(self, worker: WorkerHandle) -> None:
        """What the worker had and did not finish goes back to the source."""
        for lease_id in worker.leases:
            self._source.lost(lease_id)
        worker.leases.clear()

    def more_work(self) -> None:
        """Tell all workers that leases have come back."""
        if self.stopping or self._closed:
            return
        for worker in self._workers():
            worker.calls += 1
            worker.idle = False
            worker.send(MoreWork(self.number, worker.calls))

    def fail(self, failure: Failure) -> None:
        """Give the stage up. The first failure counts."""
        if self.failure is None:
            self.failure = failure
        self.stop(FAIL_GRACE_S)

    def stop(self, grace_s: float) -> None:
        """Begin no operation any more; those in flight get `grace_s` seconds, then are cancelled. Who does not obey
        is killed. Idempotent."""
        if self.stopping or self._closed:
            return
        self.stopping = True
        for worker in self._workers():
            worker.send(StopStage(self.number, grace_s))
        self._tasks.spawn(self._enforce(grace_s + STOP_MARGIN_S))
        self.check()

    def end_mix(self) -> None:
        """The time of a mix is up: no operation begins any more, those in flight count."""
        if not isinstance(self.job, MixJob) or self.stopping or self._closed:
            return
        self._ends_ns = time.monotonic_ns()
        for worker in self._workers():
            worker.send(EndMix(self.number))
        self._tasks.spawn(self._enforce(self.job.drain + STOP_MARGIN_S))

    async def _enforce(self, after_s: float) -> None:
        """Kill the workers that are not idle after so many seconds."""
        await asyncio.sleep(after_s)
        self.stopping = True
        for worker in self._workers():
            if not worker.idle:
                worker.kill()
