"""Prepare in a worker where large objects are uploaded in parts."""

from __future__ import annotations

from sai3tui.agent.lease import LeasedJob
from sai3tui.agent.worker.driver import WorkerContext
from sai3tui.agent.worker.lane import Lane, SetRuntime
from sai3tui.agent.worker.leased import LeasedDriver
from sai3tui.agent.worker.messages import StartStage
from sai3tui.agent.worker.stepping import SteppingDriver
from sai3tui.agent.worker.steps import Steps, Upload, part_bytes
from sai3tui.errors import RETRYABLE, Failure
from sai3tui.storage.s3wire import WireConnection


class PartedDriver(SteppingDriver, LeasedDriver):
    """A `LeasedDriver` whose connections help each other with objects larger than a part."""

    def __init__(self, start: StartStage, context: WorkerContext, job: LeasedJob) -> None:
        super().__init__(start, context, job)
        self._part = part_bytes(job.part_size)

    def _next(self, lane: Lane, now: int) -> None:
        if self._stopping or not self._help(lane):
            super()._next(lane, now)

    def put(self, lane: Lane, runtime: SetRuntime, index: int, generation: int, version: int) -> None:
        if runtime.size(index) <= self._part or not isinstance(lane.connection, WireConnection):
            super().put(lane, runtime, index, generation, version)
            return
        held, lane.held = lane.held, None
        upload = Upload(runtime, index, held, generation, version, self._part)
        upload.moved = lane.moved
        self._begin_steps(lane, upload)

    def _invite(self, endpoint: int, steps: Steps) -> None:
        resting = self._resting[endpoint]
        while resting and steps.left:
            self._resume(resting.pop())

    def _steps_failed(self, lane: Lane, steps: Steps, failure: Failure) -> None:
        others = self._others(lane.endpoint) if self._rests and self._anywhere and not self._stopping else []
        if others and steps.held is not None and failure.kind in RETRYABLE and not steps.moved:
            self._recorder.retry(steps.op, lane.endpoint, steps.size)
            lane.held = None
            self._pass_on(steps.index, steps.held, lane.endpoint, others)
            return
        super()._steps_failed(lane, steps, failure)
