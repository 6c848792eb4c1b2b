"""One run of one agent, from its start to idle again. Nothing of it outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sai3tui.agent.checkpoint import Checkpoints
from sai3tui.agent.checks_data import on_record
from sai3tui.agent.checks_host import nearest_existing
from sai3tui.agent.clock import now_ns
from sai3tui.agent.controls import Controls
from sai3tui.agent.exclusion import Excluded, Exclusions
from sai3tui.agent.leadership import Leadership
from sai3tui.agent.lease import ErrorBrake, Job, LeasedJob, LeaseSource
from sai3tui.agent.owner import ForeignPrefixError, claim
from sai3tui.agent.pool import StageTotals, WorkerPool
from sai3tui.agent.reporter import StageReporter
from sai3tui.agent.run_failures import StageFailed, first_of, internal, timed_out
from sai3tui.agent.setup import RunSetup
from sai3tui.agent.sharing import Sharing
from sai3tui.agent.spool import Spool
from sai3tui.agent.stages import cleanup, custom, execute, prepare, validation, verify
from sai3tui.agent.stages.base import StageContext
from sai3tui.agent.state import StateMachine
from sai3tui.agent.vitals import VitalsMeter
from sai3tui.agent.work import Assignments, Work, echo_of, take_over
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.model import Stage, StageType
from sai3tui.config.storage_options import Fsync
from sai3tui.errors import (
    ErrorContext,
    ErrorKind,
    Failure,
    ResourceError,
    Sai3Error,
    StorageError,
    failure_of,
)
from sai3tui.event_codec import failure_to_proto, finding_to_proto, report_to_proto, summary_to_proto
from sai3tui.events import (
    AgentState,
    Finding,
    Lateness,
    Level,
    Objects,
    Report,
    StageSummary,
)
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Known
from sai3tui.state.layout import LayoutCache
from sai3tui.state.wire import known_to_proto, names_to_rows, slots_to_proto
from sai3tui.storage.credentials import region_of
from sai3tui.storage.fileops import sync_filesystem

logger = logging.getLogger(__name__)

ABORT_GRACE_S = 2.0
ABORT_SLACK_S = 1.0
CLAIM_TIMEOUT_S = 10.0
FAREWELL_S = 15.0
"""How long a run that is over stays as it is for its controller to say goodbye."""

ADDED: Mapping[StageType, Callable[[StageContext], Awaitable[None]]] = {
    StageType.PREPARE: prepare.run_added,
    StageType.CLEANUP: cleanup.run_added,
    StageType.VERIFY: verify.run_added,
}
"""What a stage does that was over for this agent, when work of a lost agent is added to it."""

STAGES: Mapping[StageType, Callable[[StageContext], Awaitable[None]]] = {
    StageType.VALIDATION: validation.run,
    StageType.PREPARE: prepare.run,
    StageType.EXECUTE: execute.run,
    StageType.CLEANUP: cleanup.run,
    StageType.HYBRID: execute.run,
    StageType.CUSTOM: custom.run,
    StageType.VERIFY: verify.run,
}


@dataclass(frozen=True, slots=True)
class _OpenStage:
    """A stage that this agent may have to go on with until its barrier opens. `planned_ns` is when it was to begin."""

    index: int
    stage: Stage
    planned_ns: int
    context: StageContext
    reporter: StageReporter


class AgentRun:
    """Owns everything that a run needs: workers, state cache, tasks. `run()` is the whole of it; the other methods
    are how the service passes on what a controller says, from its own thread: `post` brings that to the run's."""

    def __init__(
        self, setup: RunSetup, machine: StateMachine, spool: Spool, post: Callable[[Callable[[], object]], None]
    ) -> None:
        self._post = post
        self.setup = setup
        self.spool = spool
        self.stage_name = ""
        self.over = False
        """Nothing of it goes on any more, and its end is being told."""
        self._machine = machine
        self.seats = Leadership(lambda: post(self._stir))
        self._releases: dict[int, int] = {}
        self._exclusions = Exclusions()
        self._signal = asyncio.Event()
        self._said_goodbye = False
        self._abort_reason: str | None = None
        self._abort_asked = asyncio.Event()
        self._pool: WorkerPool | None = None
        self._cache: LayoutCache | None = None
        self._assignments = Assignments(self._stir)
        self._complete: set[int] = set()
        """Stages after which every object of the generation exists."""
        self._began: set[int] = set()
        self._reporter: StageReporter | None = None
        self._objects: Callable[[], Objects] = Objects
        self._corrupt: Failure | None = None
        """The first time that what was read is not what was written, in the current stage."""
        self._lateness: Lateness | None = None
        """How the schedule of the current stage was kept."""
        self._vitals = VitalsMeter()
        self.sharing = Sharing(
            setup.agent.index, len(setup.resolved.agents) if setup.resolved.shared else 1, self._share
        )

    # --- what the service tells us ---

    def goodbye(self) -> None:
        """The controller needs nothing more."""
        self._said_goodbye = True
        self._post(self._stir)

    def release(self, release: pb.Release) -> None:
        """The barrier is open; it may be one that has not been reached yet. The first word on a barrier counts."""
        self._post(lambda: self._release(release))

    def _release(self, release: pb.Release) -> None:
        if release.stage_index not in self._releases:
            self._releases[release.stage_index] = release.start_time_ns
            if release.generation_complete:
                self._complete.add(release.stage_index)
            self._say(released=release)
            self._stir()

    def assign(self, assignment: pb.Assignment, work: Work) -> None:
        """There is something to do in a stage: `work`, as `assignment` says."""
        self._post(lambda: self._assign(assignment, work))

    def _assign(self, assignment: pb.Assignment, work: Work) -> None:
        self._assignments.add(assignment.stage_index, work)
        self._say(assigned=echo_of(assignment))

    def shared(self, part: pb.SharedPart) -> None:
        """Another agent has found something out."""
        self._post(lambda: self.sharing.take(part))

    def exclude(self, stage_index: int, reason: str) -> None:
        """The others have gone past this barrier: stop its stage, and wait at the next one."""
        self._post(lambda: self._exclude(stage_index, reason))

    def _exclude(self, stage_index: int, reason: str) -> None:
        if stage_index >= self._machine.stage_index:
            self._exclusions.add(stage_index, reason)
            self._stir()

    def end_stage(self, stage_index: int) -> None:
        """The controller has seen enough of this execute stage. It may be over already."""
        self._post(lambda: self._end_stage(stage_index))

    def _end_stage(self, stage_index: int) -> None:
        if self._machine.state is AgentState.RUNNING and stage_index == self._machine.stage_index:
            pool = self._pool
            if pool is not None:
                pool.end_mix()

    def abort(self, reason: str) -> bool:
        """End the run; False if it had ended, or was ending, already."""
        if self._abort_reason is not None or self.over:
            return False
        self._abort_reason = reason
        self._post(self._abort_asked.set)
        self._post(self._stir)
        return True

    def objects(self) -> Objects:
        """What the current stage has done so far."""
        return self._objects()

    # --- the run ---

    async def run(self) -> None:
        """Run all stages. Returns when the agent is idle again; never raises for what happens to a run."""
        try:
            await self._run()
        finally:
            self.spool.close()

    async def _run(self) -> None:
        self._machine.to(AgentState.VALIDATING)
        failure: Failure | None = None
        async with asyncio.TaskGroup() as group:
            body = group.create_task(self._guarded())
            asked = group.create_task(self._abort_asked.wait())
            try:
                await asyncio.wait({body, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not body.done():
                    self._machine.to(AgentState.ABORTING, reason=self._abort_reason or "")
                    await self._stop(body)
                if not body.cancelled():
                    failure = body.result()
            finally:
                asked.cancel()
        if self._machine.state is AgentState.ABORTING:
            if failure is not None:
                logger.warning("while aborting: %s", failure.sentence())
            self._machine.to(AgentState.ABORTED, reason=self._abort_reason or "")
        else:
            await self._farewell(failure)
        self.over = True
        self._machine.to(AgentState.IDLE)

    async def _farewell(self, failure: Failure | None) -> None:
        """Completed or failed: stay so until the controller has seen it."""
        if failure is None:
            self._machine.to(AgentState.COMPLETED)
        else:
            logger.error("the run failed: %s", failure.sentence())
            self._machine.to(AgentState.FAILED, failure=failure, reason=failure.message)
        await self._until(lambda: self._said_goodbye or self.seats.alone or self._aborting, FAREWELL_S)
        if self._aborting and failure is None:
            self._machine.to(AgentState.ABORTING, reason=self._abort_reason or "")
            self._machine.to(AgentState.ABORTED, reason=self._abort_reason or "")

    async def _stop(self, body: asyncio.Task[Failure | None]) -> None:
        """Workers finish what is in flight for a moment, then everything is cancelled."""
        if self._pool is not None:
            try:
                async with asyncio.timeout(ABORT_GRACE_S + ABORT_SLACK_S):
                    await self._pool.stop_stage(ABORT_GRACE_S)
            except (TimeoutError, Sai3Error) as error:
                logger.warning("the workers did not stop in time: %s", failure_of(error).sentence())
        body.cancel()
        await asyncio.wait({body})

    async def _guarded(self) -> Failure | None:
        try:
            await self._body()
        except Sai3Error as error:
            logger.debug("the run failed", exc_info=True)
            return self._placed(error.failure())
        except BaseExceptionGroup as group:
            # One of ours may come wrapped from a task group below.
            ours, others = group.split(Sai3Error)
            logger.debug("the run failed", exc_info=True)
            if others is None and ours is not None:
                return self._placed(first_of(ours).failure())
            if group.subgroup(asyncio.CancelledError) is not None:
                raise
            return self._placed(internal(group))
        except Exception as error:
            logger.exception("this is a defect of sai3tui")
            return self._placed(failure_of(error))
        return None

    async def _body(self) -> None:
        setup = self.setup
        objects = sum(setup.counts.values())
        lasting = setup.config.enable_metadata_cache
        cache = LayoutCache.open(setup.cache_dir, objects) if lasting else LayoutCache.in_memory(setup.cache_dir)
        self._cache = cache
        try:
            pool = WorkerPool(
                WorkerSetup(
                    endpoints=setup.endpoints,
                    connections=setup.opened,
                    engine=setup.config.engine.value,
                    region=region_of(setup.environ),
                    s3=setup.config.s3,
                    files=setup.config.files,
                    oplog=setup.oplog,
                    agent=setup.agent.id,
                    forwarded=setup.forwarded,
                ),
                workers=setup.workers,
                on_worker_lost=self._worker_lost,
                on_failures=self._failures_seen,
                on_pause=self._paused,
                on_endpoint=self._endpoint_out,
            )
            async with pool, Controls(setup.endpoints, setup.environ, setup.config.s3) as controls:
                self._pool = pool
                if setup.oplog is not None:
                    self._note(Level.INFO, f"op-log: {setup.oplog}-worker-*.tsv.zst", "op-log")
                checkpoints = Checkpoints(setup, cache, controls, self._note)
                # Before the start is agreed upon: of the first stage's time nothing is to be lost.
                await self._claim(cache, controls)
                self._arrive(0, None, await self._inventory(cache, checkpoints))
                start_ns = await self._released(0)
                await self._get_ready(cache)
                for index, stage in enumerate(setup.stages, 1):
                    if index - 1 in self._exclusions:
                        self._arrive(index, None)
                        start_ns = await self._released(index)
                    else:
                        opened = self._open(index, stage, start_ns, pool, cache, checkpoints, controls)
                        start_ns = await self._play(opened, pool)
                    if index in self._complete and cache.latest is not None:
                        cache.complete(cache.latest)
                        await cache.flush()
                    if index in self._exclusions and index < len(setup.stages):
                        self._machine.to(AgentState.EXCLUDED, index, reason=self._exclusions[index])
        except BaseException:
            # What ended the run is what is reported, also if the state cache cannot be written any more.
            with contextlib.suppress(ResourceError):
                await cache.close()
            raise
        else:
            await cache.close()
        finally:
            self._pool = None
            self._cache = None

    async def _inventory(self, cache: LayoutCache, checkpoints: Checkpoints) -> pb.Inventory:
        """What this agent knows of the layout, what is newer before what may be older."""
        known = cache.known()
        if not self.setup.fresh and any(stage.type in ADDED for stage in self.setup.stages):
            known += await checkpoints.read()
        return pb.Inventory(generations=[known_to_proto(each) for each in known], names=names_to_rows(cache.reserved()))

    async def _claim(self, cache: LayoutCache, controls: Controls) -> None:
        """Mark what the run will write; also without preflight nothing of others is touched without leave. Raises
        ForeignPrefixError if it is theirs; a storage that cannot tell, or be marked, keeps nobody from running."""
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT_S):
                taken = await claim(self.setup, controls, on_record(cache))
        except ForeignPrefixError:
            raise
        except StorageError as error:
            taken = [f"whose the prefix is could not be looked up or written: {error.failure().sentence()}"]
        except TimeoutError:
            taken = [f"whose the prefix is could not be looked up or written within {CLAIM_TIMEOUT_S:g} s"]
        for text in taken:
            self._note(Level.WARNING, text, "owner")

    async def _get_ready(self, cache: LayoutCache) -> None:
        """Take over what the controller knows of the layout."""
        ready = self._assignments.take(0)
        if ready is not None:
            await take_over(cache, ready)
            await cache.adopt_names(ready.names)

    async def _play(self, opened: _OpenStage, pool: WorkerPool) -> int:
        """A stage, and what is added to it until its barrier opens. When the next stage begins."""
        index = opened.index
        summary = await self._stage(opened, pool, STAGES[opened.stage.type])
        while True:
            self._arrive(index, summary)
            start_ns = await self._released(index)
            if not self._assignments.waiting(index) or index in self._releases or index in self._exclusions:
                return start_ns
            opened.reporter.resume()
            opened.context.progress.resume()
            self._machine.to(AgentState.RUNNING, index, reason="work of a lost agent")
            summary = await self._stage(opened, pool, ADDED[opened.stage.type])

    def _open(
        self,
        index: int,
        stage: Stage,
        start_ns: int,
        pool: WorkerPool,
        cache: LayoutCache,
        checkpoints: Checkpoints,
        controls: Controls,
    ) -> _OpenStage:
        planned = start_ns
        start_ns = max(start_ns, now_ns())
        self.stage_name = stage.name
        self._machine.to(AgentState.RUNNING, index)
        self._say(stage_started=pb.StageStarted(stage_index=index, stage_name=stage.name, planned_start_ns=planned))
        context = StageContext(
            self.setup,
            stage,
            index,
            start_ns,
            cache,
            checkpoints,
            controls,
            self._run_job,
            self._note,
            self._finding,
            lambda: self._next_work(index),
            lambda: self._assignments.take(index),
            self._surveyed,
            self.sharing,
        )
        self._objects = lambda: context.progress.objects()
        warmup = 0.0
        if stage.type in (StageType.EXECUTE, StageType.HYBRID):
            own = stage.warmup_period
            warmup = self.setup.config.warmup_period if own is None else own
        reporter = StageReporter(
            self.setup.agent.id, index, start_ns, pool.read, self.objects, self._report, self._vitals, warmup_s=warmup
        )
        return _OpenStage(index, stage, planned, context, reporter)

    async def _stage(
        self, opened: _OpenStage, pool: WorkerPool, work: Callable[[StageContext], Awaitable[None]]
    ) -> StageSummary:
        index, stage, context, reporter = opened.index, opened.stage, opened.context, opened.reporter
        self._reporter = reporter
        self._lateness = None
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(reporter.run())
            beginning = group.create_task(self._begin(opened))
            try:
                failure = await self._attempt(stage, context, pool, work)
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
        failure = self._placed(failure)
        if index in self._exclusions:
            return replace(summary, failure=failure)
        if not stage.optional:
            raise StageFailed(failure)
        self._note(Level.WARNING, f"optional stage {stage.name!r} failed: {failure.sentence()}", "optional-failed")
        return replace(summary, failure=failure)

    async def _attempt(
        self,
        stage: Stage,
        context: StageContext,
        pool: WorkerPool,
        work: Callable[[StageContext], Awaitable[None]],
    ) -> Failure | None:
        """Run a stage; why it failed, or None."""
        try:
            async with asyncio.timeout(stage.timeout) as limit:
                await self._exclusions.guard(context.index, work(context))
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
        if self._aborting or (ended.stopped and ended.failure is None):
            # Workers were stopped: this is no end of the job. The cancellation that stopped them for follows.
            await asyncio.sleep(ABORT_GRACE_S + ABORT_SLACK_S)
            raise Sai3Error("the workers were stopped")
        corrupt, self._corrupt = self._corrupt, None
        if ended.failure is not None:
            raise StageFailed(self._placed(corrupt or ended.failure))
        if corrupt is not None:
            # The stage went on, so that all that is wrong is counted; but no run is a success that read wrong data.
            raise StageFailed(self._placed(corrupt))
        if self.setup.is_files and self.setup.config.files.fsync is Fsync.PER_STAGE:
            await self._sync()

    def _say_how_late(self, ended: StageTotals) -> None:
        lateness = self._lateness = ended.lateness
        if lateness is None:
            return
        if lateness.delivered(ended.seconds):
            self._note(Level.INFO, lateness.text(), "paced")
        else:
            self._note(Level.WARNING, f"the io_rate asked for was not delivered: {lateness.text()}", "not-delivered")

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

    # --- barriers ---

    def _arrive(self, index: int, summary: StageSummary | None, inventory: pb.Inventory | None = None) -> None:
        self._machine.to(AgentState.AT_BARRIER, index)
        self._say(
            arrived=pb.Arrived(
                stage_index=index,
                summary=summary_to_proto(summary) if summary is not None else None,
                epoch=self._assignments.epoch(index),
                inventory=inventory,
                states=self._changes(),
            )
        )

    async def _released(self, index: int) -> int:
        """When the next stage begins; also returns if there is more to do in this one. An agent that is excluded has
        nothing to wait for."""
        await self._patiently(
            lambda: (
                index in self._releases or index in self._exclusions or (index > 0 and self._assignments.waiting(index))
            ),
            f"at barrier {index}",
        )
        return self._releases.get(index, 0)

    async def _patiently(self, told: Callable[[], bool], where: str) -> None:
        """Wait for the controller. If none leads for too long, the run is aborted."""
        limit = self.setup.controller_timeout_s
        arrived = time.monotonic()
        while not told():
            since = self.seats.alone_since
            left = None if since is None else max(since, arrived) + limit - time.monotonic()
            if left is not None and left <= 0:
                self.abort(f"no controller for {limit:g} s {where}")
                await asyncio.sleep(ABORT_GRACE_S + ABORT_SLACK_S)
            signal = self._signal
            try:
                async with asyncio.timeout(left):
                    await signal.wait()
            except TimeoutError:
                continue

    async def _begin(self, opened: _OpenStage) -> None:
        """Say when the stage really begins, once it does; not again when it goes on."""
        if opened.index in self._began:
            return
        await asyncio.sleep(max(0.0, (opened.context.start_ns - now_ns()) / 1e9))
        self._began.add(opened.index)
        self._say(began=pb.StageBegan(stage_index=opened.index, planned_start_ns=opened.planned_ns, began_ns=now_ns()))

    async def _next_work(self, index: int) -> Work:
        """What the controller wants done in stage `index`."""
        while (work := self._assignments.take(index)) is None:
            await self._patiently(lambda: self._assignments.waiting(index), f"in stage {index}")
        return work

    def _surveyed(self, known: Known | None) -> None:
        index = self._machine.stage_index
        generation = known_to_proto(known) if known is not None else None
        answer = pb.Surveyed(
            stage_index=index, epoch=self._assignments.epoch(index), begin=known is None, generation=generation
        )
        self._say(surveyed=answer)

    def _changes(self) -> pb.StateChanges | None:
        """What has changed in the state cache since the last call; None: nothing."""
        cache = self._cache
        if cache is None:
            return None
        latest = cache.latest
        slots = cache.news(latest) if latest is not None else {}
        names = cache.pool_news()
        if not slots and not names:
            return None
        return pb.StateChanges(
            generation=latest.number if latest is not None else 0,
            states=slots_to_proto(slots),
            names=names_to_rows(names),
        )

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._signal.wait()
        except TimeoutError:
            logger.info("no goodbye from the controller within %g s", seconds)

    def _stir(self) -> None:
        signal, self._signal = self._signal, asyncio.Event()
        signal.set()

    @property
    def _aborting(self) -> bool:
        return self._abort_reason is not None

    # --- what we say ---

    def _say(
        self,
        *,
        report: pb.Report | None = None,
        arrived: pb.Arrived | None = None,
        stage_started: pb.StageStarted | None = None,
        finding: pb.Finding | None = None,
        failure: pb.FailureSeen | None = None,
        note: pb.Note | None = None,
        shared: pb.SharedPart | None = None,
        released: pb.Release | None = None,
        began: pb.StageBegan | None = None,
        surveyed: pb.Surveyed | None = None,
        assigned: pb.Assignment | None = None,
    ) -> None:
        self.spool.append(
            pb.AgentMessage(
                agent_time_ns=now_ns(),
                report=report,
                arrived=arrived,
                stage_started=stage_started,
                finding=finding,
                failure=failure,
                note=note,
                shared=shared,
                released=released,
                began=began,
                surveyed=surveyed,
                assigned=assigned,
            )
        )

    def _share(self, part: pb.SharedPart) -> None:
        self._say(shared=part)

    def _report(self, report: Report) -> None:
        message = report_to_proto(report)
        changes = self._changes()
        if changes is not None:
            message.states.CopyFrom(changes)
        self._say(report=message)

    def _finding(self, finding: Finding) -> None:
        self._say(finding=finding_to_proto(finding))

    def _note(self, level: Level, text: str, code: str) -> None:
        logger.log(logging.WARNING if level >= Level.WARNING else logging.INFO, "%s", text)
        self._say(note=pb.Note(level=pb.Level.ValueType(int(level)), text=text, code=code))

    def _worker_lost(self, failure: Failure) -> None:
        self._note(Level.WARNING, failure.sentence(), "worker-lost")

    def _endpoint_out(self, uri: str, seconds: float, failure: Failure | None) -> None:
        if failure is None:
            self._note(Level.INFO, f"endpoint {uri} answers again", "endpoint-back")
            return
        text = f"endpoint {uri} keeps failing and is taken out for {seconds:.0f} s or more: {failure.sentence()}"
        self._note(Level.WARNING, text, "endpoint-out")

    def _paused(self, brake: ErrorBrake, count: int) -> None:
        text = (
            f"{count} operations failed within {brake.window:g} s, more than error_rate_threshold allows: "
            f"no operation begins for {brake.pause:g} s"
        )
        self._note(Level.WARNING, text, "backoff")

    def _failures_seen(self, count: int, sample: Failure) -> None:
        """Workers saw `count` more failures of one cause."""
        if sample.kind is ErrorKind.CORRUPT and self._corrupt is None:
            self._corrupt = sample
        seen = pb.FailureSeen(
            stage_index=self._machine.stage_index, count=count, sample=failure_to_proto(self._placed(sample))
        )
        self._say(failure=seen)

    def _placed(self, failure: Failure) -> Failure:
        """`failure` with agent and stage, as far as they were not known below."""
        context = failure.context
        return replace(
            failure,
            context=replace(
                context, agent=context.agent or self.setup.agent.id, stage=context.stage or self.stage_name
            ),
        )
