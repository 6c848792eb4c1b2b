"""The worker processes of one run, seen from the agent's main process: they are started here, get stages and leases
from here, and are gone when the pool is closed.

A worker that dies is replaced; it costs the operations that it had in flight, because its leases go back to their
source. Everything happens on the loop that `start` was called on, which must be one of a thread that lives as long as
the pool: workers are killed when the thread that started them ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from sai3tui.agent.controller_clock import ClockReading
from sai3tui.agent.figures import Totals, totals_of
from sai3tui.agent.lease import ErrorBrake, Job, LeasedJob, LeaseSource, MixJob
from sai3tui.agent.stage_run import StageRun
from sai3tui.agent.worker.handle import WorkerHandle, shares, stage_lanes
from sai3tui.agent.worker.messages import FailuresSeen, WorkerSetup
from sai3tui.errors import ConfigError, Failure, KnownError, ResourceError, Sai3Error, StateError, failure_of
from sai3tui.events import AttemptStats, Lateness
from sai3tui.metrics.shared import Copy, merged
from sai3tui.tasks import Tasks

START_TIMEOUT_S = 60.0
ABORT_GRACE_S = 2.0
"""Grace of operations in flight when a stage is cancelled."""
MAX_DEATHS = 3
"""So often, per worker, workers are replaced within a stage; then the stage has failed."""
SILENT_S = 30.0
"""A worker whose loop has stood still for so many seconds is killed and replaced."""
WATCH_S = 1.0


@dataclass(frozen=True, slots=True)
class StageTotals:
    """How a stage of the pool ended. `seconds` run from its start time until nothing was in flight any more.

    `failure` is why it was given up: too many errors, a source that could not grant, workers that kept dying.
    `stopped`: it was ended by `stop_stage` or by that failure, maybe before its work was done. `lateness`: how a
    schedule was kept, if there was one.
    """

    totals: Totals
    seconds: float
    stopped: bool = False
    failure: Failure | None = None
    lateness: Lateness | None = None


class WorkerPool:
    """Worker processes with connections, for one stage after another. An async context manager.

    `on_worker_lost(failure)` is told when a worker dies; `on_failures(count, sample)` about operations that failed
    for good, summed up by cause four times a second; `on_pause(brake, count)` when so many had failed that all pause;
    `on_endpoint(uri, seconds, failure)` when an endpoint that keeps failing is taken out, with (uri, 0, None) when it
    answers again.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        *,
        workers: int,
        on_worker_lost: Callable[[Failure], None] | None = None,
        on_failures: Callable[[int, Failure], None] | None = None,
        on_pause: Callable[[ErrorBrake, int], None] | None = None,
        on_endpoint: Callable[[str, float, Failure | None], None] | None = None,
    ) -> None:
        """Raises ValueError if `setup` has no connections."""
        self._opens = shares(setup, workers)
        self._uris = [endpoint.uri for endpoint in setup.endpoints]
        self._on_worker_lost = on_worker_lost
        self._on_failures = on_failures
        self._on_pause = on_pause
        self._on_endpoint = on_endpoint
        self._failed_attempts: list[AttemptStats] = []
        """Of the stage that was the last to end."""
        self._slots: list[WorkerHandle | None] = [None] * len(self._opens)
        self._buried: list[Copy] = []
        """Figures of workers that died in the current stage."""
        self._stage_number = 0
        self._stage: StageRun | None = None
        self._tasks = Tasks(self._defect)
        self._watching = False
        self._closed = False
        self._clock: ClockReading | None = None

    @property
    def workers(self) -> int:
        """Worker processes, those that are being replaced included."""
        return len(self._opens)

    @property
    def connections(self) -> int:
        """Connections of all workers."""
        return sum(sum(each.connections) for each in self._opens)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live."""
        return [worker.pid for worker in self._living()]

    def _living(self) -> list[WorkerHandle]:
        return [worker for worker in self._slots if worker is not None and not worker.gone]

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- processes ---

    async def start(self) -> None:
        """Start the workers that there should be and are not, and wait until each has opened its engine.

        Raises Sai3Error with the cause if one could not, StateError if the pool is closed.
        """
        if self._closed:
            raise StateError("the worker pool is closed")
        missing = [number for number, worker in enumerate(self._slots) if worker is None or worker.gone]
        results = await asyncio.gather(*(self._start_worker(number) for number in missing), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        if not self._watching:
            self._watching = True
            self._tasks.spawn(self._watch())

    async def _start_worker(self, number: int) -> WorkerHandle:
        worker = WorkerHandle(number, self._on_message, self._on_closed)
        self._slots[number] = worker
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                ready = await worker.start(self._opens[number])
        except TimeoutError as error:
            worker.kill()
            raise ResourceError(f"a worker process was not ready after {START_TIMEOUT_S:.0f} s") from error
        if not ready:
            await worker.reap()
            failure = worker.death()
            worker.release()
            raise KnownError(failure)
        if self._clock is not None:
            worker.send(self._clock)
        return worker

    def _defect(self, error: BaseException) -> None:
        """Nobody looks after the workers any more."""
        if self._stage is not None:
            self._stage.fail(failure_of(error))

    async def _watch(self) -> None:
        """Kill workers whose loops stand still."""
        seen: dict[int, tuple[int, float]] = {}
        while True:
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            living = {worker.pid: worker for worker in self._living() if worker.opened}
            seen = {pid: entry for pid, entry in seen.items() if pid in living}
            for pid, worker in living.items():
                beats = worker.beats
                if pid not in seen or seen[pid][0] != beats:
                    seen[pid] = (beats, now)
                elif now - seen[pid][1] > SILENT_S:
                    worker.kill()

    def _on_closed(self, worker: WorkerHandle) -> None:
        """A worker's channel has ended, and it was not us."""
        if self._closed or not worker.opened:
            return
        stage = self._stage
        if stage is not None:
            stage.recovering += 1
        self._tasks.spawn(self._bury(worker, stage))

    async def _bury(self, worker: WorkerHandle, stage: StageRun | None) -> None:
        """Clear up after a dead worker, and replace it if there is something to do."""
        try:
            await worker.reap()
            failure = worker.death()
            copy = worker.read()
            if copy is not None:
                self._buried.append(copy)
            worker.release()
            if self._on_worker_lost is not None:
                self._on_worker_lost(failure)
            if stage is None:
                return
            stage.give_back(worker)
            if stage.stopping:
                return
            stage.deaths += 1
            if stage.deaths > MAX_DEATHS * len(self._slots):
                stage.fail(failure)
                return
            replacement = await self._start_worker(worker.number)
            if not stage.stopping:
                stage.begin_on(replacement)
                stage.more_work()
        except Sai3Error as error:
            if stage is not None:
                stage.fail(error.failure())
        finally:
            if stage is not None:
                stage.recovering -= 1
                stage.check()

    def _on_message(self, worker: WorkerHandle, message: object) -> None:
        stage = self._stage
        if stage is None:
            return
        stage.on_message(worker, message)
        if isinstance(message, FailuresSeen) and message.stage == stage.number and self._on_failures is not None:
            self._on_failures(message.count, message.sample)

    async def close(self) -> None:
        """End all workers; returns when their processes, memory and descriptors are gone. Idempotent."""
        self._closed = True
        if self._stage is not None:
            self._stage.stopping = True
            self._stage.done.set()
        await self._tasks.close()
        workers = [worker for worker in self._slots if worker is not None]
        for worker in workers:
            worker.hang_up()
        await asyncio.gather(*(worker.reap() for worker in workers))
        for worker in workers:
            worker.release()
        self._slots = [None] * len(self._opens)

    # --- stages ---

    async def run_leased(self, job: LeasedJob, source: LeaseSource) -> StageTotals:
        """Do `job.op` to everything that `source` grants. Returns when all of that is settled, or on failure.

        Raises StateError if a stage is running already, Sai3Error if workers that had died could not be started
        again. If it is cancelled it stops the stage first.
        """
        return await self._run(job, source, 0.0)

    async def run_mix(self, job: MixJob, source: LeaseSource) -> StageTotals:
        """Run a mix until its time is over and what is in flight has ended. Like `run_leased`.

        Raises ConfigError if there is nothing that any operation could be done to.
        """
        if not any(
            op.weight > 0 and (op.leased or op.made or any(d.count or d.listed for d in op.draws)) for op in job.ops
        ):
            raise ConfigError("there is no object that any of the operations could be done to")
        return await self._run(job, source, job.duration)

    async def _run(self, job: Job, source: LeaseSource, duration: float) -> StageTotals:
        if self._stage is not None:
            raise StateError("the worker pool is running a stage already")
        await self.start()
        now = time.monotonic_ns()
        start_ns = max(job.start_ns, now)
        ends_ns = start_ns + round(duration * 1e9)
        if job.start_ns:
            # Who begins later does so for as long, and a schedule with it: else more would be due than was asked for.
            job = replace(job, start_ns=start_ns)
        self._stage_number += 1
        self._buried.clear()
        lanes = stage_lanes(self._opens, job.connections) if job.connections else ()
        stage = self._stage = StageRun(
            self._stage_number,
            job,
            source,
            ends_ns,
            self._living,
            self._on_pause,
            lanes,
            len(self._uris),
            self._endpoint_told,
        )
        try:
            stage.begin(self._living(), (ends_ns - now) / 1e9)
            await stage.done.wait()
        except asyncio.CancelledError:
            await self.stop_stage(ABORT_GRACE_S)
            raise
        finally:
            await stage.close()
            self._failed_attempts = stage.failed_attempts
            self._stage = None
        totals = self.read()
        seconds = max(0.0, (totals.time_ns - start_ns) / 1e9)
        return StageTotals(totals, seconds, stage.stopping, stage.failure, stage.lateness)

    def _endpoint_told(self, endpoint: int, seconds: float, failure: Failure | None) -> None:
        if self._on_endpoint is not None:
            self._on_endpoint(self._uris[endpoint], seconds, failure)

    async def stop_stage(self, grace_s: float = ABORT_GRACE_S) -> None:
        """End the running stage, if any: no operation begins any more, those in flight get `grace_s` seconds.

        Returns when all workers are idle; one that does not obey in another 2 s is killed.
        """
        stage = self._stage
        if stage is not None:
            stage.stop(grace_s)
            await stage.done.wait()

    def tell_clock(self, reading: ClockReading) -> None:
        """What the controller's clock says, for what workers write down."""
        self._clock = reading
        for worker in self._living():
            if worker.opened:
                worker.send(reading)

    def end_mix(self) -> None:
        """End the mix that is running, if one is, as if its time were up."""
        if self._stage is not None:
            self._stage.end_mix()

    def read(self) -> Totals:
        """Figures since the current, or last, stage began, merged over all workers. Costs about a millisecond."""
        found = {worker: worker.read() for worker in self._slots if worker is not None}
        copies = [copy for copy in found.values() if copy is not None]
        cpu = {worker.pid: copy.cpu for worker, copy in found.items() if copy is not None and not worker.gone}
        failed = self._stage.failed_attempts if self._stage is not None else self._failed_attempts
        whole = merged([*self._buried, *copies], self._stage_number)
        return totals_of(whole, self._uris, time.monotonic_ns(), cpu, failed)
