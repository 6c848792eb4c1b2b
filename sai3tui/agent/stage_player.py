"""One stage after the other, as one agent does it: from when it begins to when its barrier opens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sai3tui.agent.checkpoint import Checkpoints
from sai3tui.agent.checks_host import nearest_existing
from sai3tui.agent.clock import now_ns
from sai3tui.agent.controls import Controls
from sai3tui.agent.course import ABORT_GRACE_S, ABORT_SLACK_S, Course
from sai3tui.agent.exclusion import Excluded
from sai3tui.agent.lease import Job, LeasedJob, LeaseSource
from sai3tui.agent.pool import StageTotals, WorkerPool
from sai3tui.agent.reporter import StageReporter
from sai3tui.agent.run_failures import first_of, timed_out
from sai3tui.agent.setup import RunSetup
from sai3tui.agent.sharing import Sharing
from sai3tui.agent.stages import cleanup, custom, execute, prepare, validation, verify
from sai3tui.agent.stages.base import StageContext, StageError
from sai3tui.agent.state import StateMachine
from sai3tui.agent.vitals import VitalsMeter
from sai3tui.agent.voice import Voice
from sai3tui.config.model import Stage, StageType
from sai3tui.config.storage_options import Fsync
from sai3tui.errors import ErrorContext, Failure, Sai3Error, StorageError
from sai3tui.event_codec import summary_to_proto
from sai3tui.events import AgentState, Lateness, Level, Objects, StageSummary
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Known
from sai3tui.state.layout import LayoutCache
from sai3tui.state.wire import known_to_proto
from sai3tui.storage.fileops import sync_filesystem

logger = logging.getLogger(__name__)

LATE_S = 1.0
"""A stage that begins so much later than agreed says why."""

Work = Callable[[StageContext], Awaitable[None]]

ADDED: Mapping[StageType, Work] = {
    StageType.PREPARE: prepare.run_added,
    StageType.CLEANUP: cleanup.run_added,
    StageType.VERIFY: verify.run_added,
}
"""What a stage does that was over for this agent, when work of a lost agent is added to it."""

STAGES: Mapping[StageType, Work] = {
    StageType.VALIDATION: validation.run,
    StageType.PREPARE: prepare.run,
    StageType.EXECUTE: execute.run,
    StageType.CLEANUP: cleanup.run,
    StageType.HYBRID: execute.run,
    StageType.CUSTOM: custom.run,
    StageType.VERIFY: verify.run,
}


@dataclass(frozen=True, slots=True)
class Means:
    """What stages work with."""

    pool: WorkerPool
    cache: LayoutCache
    checkpoints: Checkpoints
    controls: Controls


@dataclass(frozen=True, slots=True)
class _OpenStage:
    """A stage that this agent may have to go on with until its barrier opens. `planned_ns` is when it was to begin,
    `ready` whether it can."""

    index: int
    stage: Stage
    planned_ns: int
    context: StageContext
    reporter: StageReporter
    ready: asyncio.Event


class StagePlayer:
    """One per run."""

    def __init__(self, setup: RunSetup, machine: StateMachine, course: Course, voice: Voice, sharing: Sharing) -> None:
        self.setup = setup
        self._machine = machine
        self._course = course
        self._voice = voice
        self._sharing = sharing
        self._began: set[int] = set()
        self._pool: WorkerPool | None = None
        self._reporter: StageReporter | None = None
        self._objects: Callable[[], Objects] = Objects
        self._lateness: Lateness | None = None
        """How the schedule of the current stage was kept."""
        self._vitals = VitalsMeter()

    def objects(self) -> Objects:
        """What the current stage has done so far."""
        return self._objects()

    def arrive(self, index: int, summary: StageSummary | None, inventory: pb.Inventory | None = None) -> None:
        """Say that this agent waits at a barrier."""
        self._machine.to(AgentState.AT_BARRIER, index)
        self._voice.say(
            arrived=pb.Arrived(
                stage_index=index,
                summary=summary_to_proto(summary) if summary is not None else None,
                epoch=self._course.assignments.epoch(index),
                inventory=inventory,
                states=self._voice.changes(),
            )
        )

    async def play(self, index: int, stage: Stage, start_ns: int, means: Means) -> int:
        """A stage, and what is added to it until its barrier opens. When the next stage begins."""
        course = self._course
        self._pool = means.pool
        opened = self._open(index, stage, start_ns, means)
        summary = await self._stage(opened, STAGES[stage.type])
        while True:
            self.arrive(index, summary)
            start_ns = await course.released(index)
            if not course.assignments.waiting(index) or course.passed(index):
                return start_ns
            opened.reporter.resume()
            opened.context.progress.resume()
            self._machine.to(AgentState.RUNNING, index, reason="work of a lost agent")
            summary = await self._stage(opened, ADDED[stage.type])

    def _open(self, index: int, stage: Stage, start_ns: int, means: Means) -> _OpenStage:
        setup, course, voice = self.setup, self._course, self._voice
        planned = start_ns
        start_ns = max(start_ns, now_ns())
        voice.stage_name = stage.name
        self._machine.to(AgentState.RUNNING, index)
        voice.say(stage_started=pb.StageStarted(stage_index=index, stage_name=stage.name, planned_start_ns=planned))
        mixes = stage.type in (StageType.EXECUTE, StageType.HYBRID)
        ready = asyncio.Event()
        if not mixes:
            ready.set()

        def begin(at_ns: int) -> None:
            late_s = (at_ns - start_ns) / 1e9
            if late_s > LATE_S:
                text = f"began {late_s:.1f} s late: so long it took to list objects or to put names on record"
                voice.note(Level.WARNING, text, "began-late")
            reporter.begin(at_ns)
            ready.set()

        context = StageContext(
            setup,
            stage,
            index,
            start_ns,
            means.cache,
            means.checkpoints,
            means.controls,
            self._run_job,
            voice.note,
            voice.finding,
            lambda: course.next_work(index),
            lambda: course.assignments.take(index),
            self._surveyed,
            self._sharing,
            begin,
        )
        self._objects = lambda: context.progress.objects()
        warmup = 0.0
        if mixes:
            own = stage.warmup_period
            warmup = setup.config.warmup_period if own is None else own
        reporter = StageReporter(
            setup.agent.id,
            index,
            start_ns,
            means.pool.read,
            self.objects,
            voice.report,
            self._vitals,
            warmup_s=warmup,
            gets_ready=mixes,
        )
        return _OpenStage(index, stage, planned, context, reporter, ready)

    async def _stage(self, opened: _OpenStage, work: Work) -> StageSummary:
        index, stage, context, reporter = opened.index, opened.stage, opened.context, opened.reporter
        self._reporter = reporter
        self._lateness = None
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(reporter.run())
            beginning = group.create_task(self._begin(opened))
            try:
                failure = await self._attempt(opened, work)
            finally:
                reporting.cancel()
                beginning.cancel()
                context.progress.ended()
                reporter.report()
        self._reporter = None
        summary = reporter.summary(stage.name, stage.type.value, context.progress.end_ns, context.progress.begin_ns)
        summary = replace(summary, lateness=self._lateness)
        if failure is None:
            return summary
        failure = self._voice.placed(failure)
        if index in self._course.exclusions:
            return replace(summary, failure=failure)
        if not stage.optional:
            raise StageError(failure)
        text = f"optional stage {stage.name!r} failed: {failure.sentence()}"
        self._voice.note(Level.WARNING, text, "optional-failed")
        return replace(summary, failure=failure)

    async def _begin(self, opened: _OpenStage) -> None:
        """Say when the stage really begins, once it does; not again when it goes on."""
        if opened.index in self._began:
            return
        await opened.ready.wait()
        await asyncio.sleep(max(0.0, (opened.context.start_ns - now_ns()) / 1e9))
        self._began.add(opened.index)
        began = pb.StageBegan(stage_index=opened.index, planned_start_ns=opened.planned_ns, began_ns=now_ns())
        self._voice.say(began=began)

    async def _attempt(self, opened: _OpenStage, work: Work) -> Failure | None:
        """Run a stage; why it failed, or None."""
        stage, pool = opened.stage, self._pool
        assert pool is not None
        try:
            async with asyncio.timeout(stage.timeout) as limit:
                await self._course.exclusions.guard(opened.index, work(opened.context))
        except Excluded as excluded:
            await pool.stop_stage(ABORT_GRACE_S)
            return excluded.failure()
        except TimeoutError as error:
            if not limit.expired():
                raise
            await pool.stop_stage(ABORT_GRACE_S)
            return timed_out(stage, error)
        except Sai3Error as error:
            logger.debug("stage %s failed", stage.name, exc_info=True)
            return error.failure()
        except BaseExceptionGroup as group:
            ours, others = group.split(Sai3Error)
            if others is not None or ours is None:
                raise
            return first_of(ours).failure()
        return None

    async def _run_job(self, job: Job, source: LeaseSource) -> None:
        pool, reporter = self._pool, self._reporter
        if pool is None or reporter is None:
            raise Sai3Error("a job was started outside a stage")
        try:
            if isinstance(job, LeasedJob):
                ended = await pool.run_leased(job, source)
            else:
                ended = await pool.run_mix(job, source)
                self._say_how_late(ended)
        finally:
            reporter.fold()
        if self._course.aborting or (ended.stopped and ended.failure is None):
            # Workers were stopped: this is no end of the job. The cancellation that stopped them for follows.
            await asyncio.sleep(ABORT_GRACE_S + ABORT_SLACK_S)
            raise Sai3Error("the workers were stopped")
        corrupt = self._voice.take_corrupt()
        # Of a stage that went on, so that all that is wrong was counted, too: no run is a success that read wrong data.
        failure = corrupt or ended.failure
        if failure is not None:
            raise StageError(self._voice.placed(failure))
        if self.setup.is_files and self.setup.config.files.fsync is Fsync.PER_STAGE:
            await self._sync()

    def _say_how_late(self, ended: StageTotals) -> None:
        lateness = self._lateness = ended.lateness
        if lateness is None:
            return
        if lateness.delivered(ended.seconds):
            self._voice.note(Level.INFO, lateness.text(), "paced")
        else:
            text = f"the io_rate asked for was not delivered: {lateness.text()}"
            self._voice.note(Level.WARNING, text, "not-delivered")

    async def _sync(self) -> None:
        """Make durable what the stage has written; that takes part of its time."""
        for endpoint in self.setup.endpoints:
            directory = str(nearest_existing(Path(endpoint.prefix)))
            try:
                await asyncio.to_thread(sync_filesystem, directory)
            except OSError as error:
                raise StorageError(
                    f"what was written below {endpoint.uri} could not be made durable",
                    hint="see the kernel's log",
                    context=ErrorContext(uri=endpoint.uri, endpoint=endpoint.uri),
                ) from error

    def _surveyed(self, known: Known | None) -> None:
        index = self._machine.stage_index
        generation = known_to_proto(known) if known is not None else None
        answer = pb.Surveyed(
            stage_index=index, epoch=self._course.assignments.epoch(index), begin=known is None, generation=generation
        )
        self._voice.say(surveyed=answer)
