"""One run of one agent, from its start to idle again. Nothing of it outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from sai3tui.agent.checkpoint import Checkpoints
from sai3tui.agent.checks_data import on_record
from sai3tui.agent.controller_clock import ClockReadings
from sai3tui.agent.controls import Controls
from sai3tui.agent.course import ABORT_GRACE_S, ABORT_SLACK_S, Course
from sai3tui.agent.data_lock import locked
from sai3tui.agent.left_uploads import LeftUploads, makes_parts
from sai3tui.agent.owner import ForeignPrefixError, claim
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.run_failures import first_of, internal
from sai3tui.agent.setup import RunSetup
from sai3tui.agent.sharing import Sharing
from sai3tui.agent.spool import Spool
from sai3tui.agent.stage_player import ADDED, Means, StagePlayer
from sai3tui.agent.state import StateMachine
from sai3tui.agent.voice import Voice
from sai3tui.agent.work import Work, echo_of, take_over
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.errors import Failure, ResourceError, Sai3Error, StorageError, failure_of
from sai3tui.events import AgentState, Level, Objects
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.layout import LayoutCache
from sai3tui.state.scratch import clear
from sai3tui.state.wire import known_to_proto, names_to_rows
from sai3tui.storage.credentials import region_of

logger = logging.getLogger(__name__)

CLAIM_TIMEOUT_S = 10.0


class AgentRun:
    """Owns everything that a run needs: workers, state cache, tasks. `run()` is the whole of it; the other methods
    are how the service passes on what a controller says, from its own thread: `post` brings that to the run's."""

    def __init__(
        self, setup: RunSetup, machine: StateMachine, spool: Spool, post: Callable[[Callable[[], object]], None]
    ) -> None:
        self.setup = setup
        self.spool = spool
        self._post = post
        self._machine = machine
        self._course = Course(machine, setup.controller_timeout_s, post)
        self._voice = Voice(setup.agent.id, machine, spool)
        agents = len(setup.resolved.agents) if setup.resolved.shared else 1
        self._sharing = Sharing(setup.agent.index, agents, self._voice.share)
        self._player = StagePlayer(setup, machine, self._course, self._voice, self._sharing)
        self._pool: WorkerPool | None = None
        self._readings = ClockReadings()
        self.seats = self._course.seats
        self.goodbye = self._course.goodbye
        self.abort = self._course.abort

    # --- what the service tells us, and asks

    def release(self, release: pb.Release) -> None:
        """The barrier is open; it may be one that has not been reached yet. The first word on a barrier counts."""
        self._post(lambda: self._release(release))

    def _release(self, release: pb.Release) -> None:
        if self._course.release(release):
            self._voice.say(released=release)

    def assign(self, assignment: pb.Assignment, work: Work) -> None:
        """There is something to do in a stage: `work`, as `assignment` says."""
        self._post(lambda: self._assign(assignment, work))

    def _assign(self, assignment: pb.Assignment, work: Work) -> None:
        if self._course.assignments.add(assignment.stage_index, work):
            self._voice.say(assigned=echo_of(assignment))

    def told(self, told: pb.Told) -> None:
        """The leader said something of the run, for those who watch it or lead it later."""
        self._post(lambda: self._voice.say(told=told))

    def shared(self, part: pb.SharedPart) -> None:
        """Another agent has found something out."""
        self._post(lambda: self._sharing.take(part))

    def exclude(self, stage_index: int, reason: str) -> None:
        """The others have gone past this barrier: stop its stage, and wait at the next one."""
        self._post(lambda: self._course.exclude(stage_index, reason))

    def end_stage(self, stage_index: int) -> None:
        """The controller has seen enough of this execute stage. It may be over already."""
        self._post(lambda: self._end_stage(stage_index))

    def _end_stage(self, stage_index: int) -> None:
        if self._machine.state is AgentState.RUNNING and stage_index == self._machine.stage_index:
            pool = self._pool
            if pool is not None:
                pool.end_mix()

    def clock(self, ping: pb.Ping, mono_ns: int, agent_ns: int) -> None:
        """What the controller knows of this agent's clock came at `mono_ns`, when that clock said `agent_ns`."""
        if self.setup.oplog is not None:
            self._post(lambda: self._clock(ping, mono_ns, agent_ns))

    def _clock(self, ping: pb.Ping, mono_ns: int, agent_ns: int) -> None:
        reading = self._readings.told(mono_ns, agent_ns, ping.clock_offset_ns, ping.clock_drift_ppm)
        if reading is not None and self._pool is not None:
            self._pool.tell_clock(reading)

    async def on_record(self) -> pb.OnRecordReply:
        """What this agent knows of the objects, all of which will be known after a crash, too."""
        cache = self._voice.cache
        if cache is None:
            return pb.OnRecordReply()
        with contextlib.suppress(ResourceError):  # that the disk fails is said by the run itself
            await cache.flush()
        if self._voice.cache is not cache:
            return pb.OnRecordReply()
        known = [*cache.known(), *self._course.assignments.untaken()]
        names = names_to_rows(cache.reserved())
        inventory = pb.Inventory(generations=[known_to_proto(each) for each in reversed(known)], names=names)
        return pb.OnRecordReply(inventory=inventory, sequence=self.spool.last_sequence)

    def objects(self) -> Objects:
        """What the current stage has done so far."""
        return self._player.objects()

    @property
    def stage_name(self) -> str:
        """Of the current or last stage."""
        return self._voice.stage_name

    @property
    def over(self) -> bool:
        """Whether nothing of it goes on any more, and its end is being told."""
        return self._course.over

    # --- the run

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
            asked = group.create_task(self._course.abort_asked.wait())
            try:
                await asyncio.wait({body, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not body.done():
                    self._machine.to(AgentState.ABORTING, reason=self._course.abort_reason or "")
                    await self._stop(body)
                if not body.cancelled():
                    failure = body.result()
            finally:
                asked.cancel()
        if self._machine.state is AgentState.ABORTING:
            if failure is not None:
                logger.warning("while aborting: %s", failure.sentence())
            self._machine.to(AgentState.ABORTED, reason=self._course.abort_reason or "")
        else:
            await self._farewell(failure)
        self._course.over = True
        self._machine.to(AgentState.IDLE)

    async def _farewell(self, failure: Failure | None) -> None:
        """Completed or failed: stay so until the controller has seen it."""
        if failure is None:
            self._machine.to(AgentState.COMPLETED)
        else:
            logger.error("the run failed: %s", failure.sentence())
            self._machine.to(AgentState.FAILED, failure=failure, reason=failure.message)
        await self._course.farewell()
        if self._course.aborting and failure is None:
            self._machine.to(AgentState.ABORTING, reason=self._course.abort_reason or "")
            self._machine.to(AgentState.ABORTED, reason=self._course.abort_reason or "")

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
            with _held(self.setup):
                await self._body()
        except Sai3Error as error:
            logger.debug("the run failed", exc_info=True)
            return self._voice.placed(error.failure())
        except BaseExceptionGroup as group:
            # One of ours may come wrapped from a task group below.
            ours, others = group.split(Sai3Error)
            logger.debug("the run failed", exc_info=True)
            if others is None and ours is not None:
                return self._voice.placed(first_of(ours).failure())
            if group.subgroup(asyncio.CancelledError) is not None:
                raise
            return self._voice.placed(internal(group))
        except Exception as error:
            logger.exception("this is a defect of sai3tui")
            return self._voice.placed(failure_of(error))
        return None

    async def _body(self) -> None:
        setup = self.setup
        objects = sum(setup.counts.values())
        lasting = setup.config.enable_metadata_cache
        cache = LayoutCache.open(setup.cache_dir, objects) if lasting else LayoutCache.in_memory(setup.cache_dir)
        self._voice.cache = cache
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
                    clock_offset_ns=setup.clock_offset_ns,
                    agent=setup.agent.id,
                    forwarded=setup.forwarded,
                ),
                workers=setup.workers,
                on_worker_lost=self._voice.worker_lost,
                on_failures=self._voice.failures_seen,
                on_pause=self._voice.paused,
                on_endpoint=self._voice.endpoint_out,
            )
            async with pool, Controls(setup.endpoints, setup.environ, setup.config.s3) as controls:
                self._pool = pool
                if setup.oplog is not None:
                    self._voice.note(Level.INFO, f"op-log: {setup.oplog}-worker-*.tsv.zst", "op-log")
                checkpoints = Checkpoints(setup, cache, controls, self._voice.note)
                means = Means(pool, cache, checkpoints, controls)
                # Before the start is agreed upon: of the first stage's time nothing is to be lost.
                if await self._claim(cache, controls) and not (setup.resolved.shared and setup.agent.index):
                    await self._end_left_uploads(controls)
                self._player.arrive(0, None, await self._inventory(cache, checkpoints))
                start_ns = await self._course.released(0)
                await self._get_ready(cache)
                for index, stage in enumerate(setup.stages, 1):
                    if index - 1 in self._course.exclusions:
                        self._player.arrive(index, None)
                        start_ns = await self._course.released(index, works=False)
                    else:
                        start_ns = await self._player.play(index, stage, start_ns, means)
                    if index in self._course.complete and cache.latest is not None:
                        cache.complete(cache.latest)
                        await cache.flush()
                    if index in self._course.exclusions and index < len(setup.stages):
                        self._machine.to(AgentState.EXCLUDED, index, reason=self._course.exclusions[index])
                one = self._course.acts(len(setup.stages), setup.agent.id) or not setup.resolved.shared
                if makes_parts(setup) and one:
                    await self._end_left_uploads(controls)
        except BaseException:
            # What ended the run is what is reported, also if the state cache cannot be written any more.
            with contextlib.suppress(ResourceError):
                await cache.close()
            raise
        else:
            left = await cache.close()
            if left:
                self._voice.note(Level.WARNING, left, "state-cache")
        finally:
            self._pool = None
            self._voice.cache = None

    async def _inventory(self, cache: LayoutCache, checkpoints: Checkpoints) -> pb.Inventory:
        """What this agent knows of the layout, what is newer before what may be older."""
        reads = not self.setup.fresh and any(stage.type in ADDED for stage in self.setup.stages)
        restored = await checkpoints.read() if reads else []
        return pb.Inventory(
            generations=[known_to_proto(each) for each in reversed(cache.known())],
            names=names_to_rows(cache.reserved()),
            restored=[known_to_proto(each) for each in restored],
        )

    async def _claim(self, cache: LayoutCache, controls: Controls) -> bool:
        """Mark what the run will write; also without preflight nothing of others is touched without leave. Raises
        ForeignPrefixError if it is theirs; a storage that cannot tell, or be marked, keeps nobody from running: whether
        it could."""
        claimed = False
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT_S):
                taken = await claim(self.setup, controls, on_record(cache))
            claimed = True
        except ForeignPrefixError:
            raise
        except StorageError as error:
            taken = [f"whose the prefix is could not be looked up or written: {error.failure().sentence()}"]
        except TimeoutError:
            taken = [f"whose the prefix is could not be looked up or written within {CLAIM_TIMEOUT_S:g} s"]
        for text in taken:
            self._voice.note(Level.WARNING, text, "owner")
        return claimed

    async def _end_left_uploads(self, controls: Controls) -> None:
        """No agent of the run writes at this moment: what is open now was left by somebody who was killed."""
        left = LeftUploads(self.setup, controls, time.monotonic())
        await left.end()
        for level, text, code in left.told():
            self._voice.note(level, text, code)

    async def _get_ready(self, cache: LayoutCache) -> None:
        """Take over what the controller knows of the layout."""
        ready = self._course.assignments.take(0)
        if ready is not None:
            await take_over(cache, ready)
            await cache.adopt_names(ready.names)


@contextlib.contextmanager
def _held(setup: RunSetup) -> Iterator[None]:
    """Hold the directory of the state cache, where that is not the agent's own data directory: another agent of that
    name may be told to use it too. Raises ResourceError."""
    if not setup.agent.kv_cache_dir:
        yield
        return
    caches = setup.cache_dir.parent
    with locked(caches.parent, "directory of state caches", "give each agent a kv_cache_dir of its own"):
        clear(caches)
        yield
