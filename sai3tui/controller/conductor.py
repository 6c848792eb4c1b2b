"""Leads agents through the stages of one run: streams, barriers, releases, losses, and the way out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

import grpc

from sai3tui.config.model import Barrier, BarrierType, Stage, StageType, UntilSteady
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.barrier import BarrierFacts, BarrierRule, Fail, Release, Wait, decide
from sai3tui.controller.coordinator import Coordinator
from sai3tui.controller.journal import Journal
from sai3tui.controller.planning import RunPlan
from sai3tui.controller.request import INCOMPLETE, SUCCESS, Ending, RunStopped, failed
from sai3tui.controller.stage_work import StageWork
from sai3tui.errors import AgentLostError, ErrorContext, ErrorKind, Failure, Sai3Error
from sai3tui.events import (
    AgentState,
    BarrierArrived,
    BarrierReleased,
    Level,
    Report,
    StageFinished,
    StateChanged,
)
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.steady import known_to
from sai3tui.results.tally import Item

logger = logging.getLogger(__name__)

RELEASE_MARGIN_S = 0.2
COMPLETED_TIMEOUT_S = 10.0
STREAM_END_TIMEOUT_S = 5.0
STAGE_GRACE_S = 30.0
LOOK_INTERVAL_S = 0.5
_LOST = frozenset({ErrorKind.AGENT_LOST, ErrorKind.RESOURCE})
"""Failures that are one host's, and say nothing about what the others can do."""


class Conductor:
    """One run on connected agents. Belongs to the session's loop; `streams` run in the session's task group."""

    def __init__(self, plan: RunPlan, links: Iterable[AgentLink], journal: Journal, coordinator: Coordinator) -> None:
        self._plan = plan
        self._links = {link.id: link for link in links}
        self._journal = journal
        self._work = StageWork(plan, coordinator, self._assign, journal.emit)
        self._arrived: dict[int, dict[str, float]] = {}
        self._stage_failures: dict[int, Failure] = {}
        self._gone: dict[str, Failure] = {}
        self._left: set[str] = set()
        self._completed: set[str] = set()
        self._heard: dict[str, float] = {}
        self._queries: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._rule: Barrier | None = None
        self._until_steady: tuple[int, UntilSteady | None] = (0, None)
        """The stage that ends when it is steady, and the rule; no rule if there is none."""
        self._sending: asyncio.Task[None] | None = None
        self._complete = False
        """Whether all objects of the generation exist since the last stage, which was a prepare."""

    def open_streams(self, group: asyncio.TaskGroup, specs: dict[str, pb.RunSpec]) -> None:
        """Start the run on every agent; from now on what they say reaches the journal."""
        self._sending = group.create_task(self._work.run())
        for agent, link in self._links.items():
            link.on_message = self._work.take
            link.on_shared = lambda source, part: self._pass_on(group, source, part)
            self._heard[agent] = time.monotonic()
            self._streams[agent] = group.create_task(self._follow(link, specs[agent]))

    async def play(self) -> Ending:
        """All stages with their barriers. Raises RunStopped where the run cannot go on."""
        config = self._plan.resolved.config
        ready = Barrier(agent_barrier_timeout=config.distributed.agent_ready_timeout)
        participants = tuple(self._links)
        rule = BarrierRule(
            BarrierType.ALL_OR_NOTHING, "0 (ready)", ready.agent_barrier_timeout, ready.agent_barrier_timeout
        )
        self._rule = ready
        released = await self._barrier(0, rule, participants, "")
        await self._work.ready()
        await self._next_work(1, released)
        # A local run has nobody to wait for: the delay is for fleets.
        await self._release(0, released, 0.0 if config.distributed.local else config.distributed.start_delay)
        for index, stage in enumerate(self._plan.resolved.stages, 1):
            self._rule = stage.barrier
            released = await self._stage(index, stage, released.arrived)
            await self._next_work(index + 1, released)
            await self._release(index, released, 0.0)
        await self._all_completed()
        return INCOMPLETE if self._gone else SUCCESS

    async def _next_work(self, index: int, released: Release) -> None:
        """Tell agents what to do in stage `index`, before they are let into it."""
        stages = self._plan.resolved.stages
        if index <= len(stages):
            present = [agent for agent in released.arrived if agent not in self._gone]
            await self._work.begin(index, stages[index - 1], present)

    async def _assign(self, agent: str, assignment: pb.Assignment) -> None:
        await self._links[agent].assign(assignment)

    async def end(self, ending: Ending) -> None:
        """Leave every agent idle: goodbye to those that are through or failed, abort for the others. Bounded."""
        self._rule = None
        for query in self._queries.values():
            query.cancel()
        async with asyncio.TaskGroup() as group:
            for agent, link in self._links.items():
                if agent in self._left or agent not in self._streams:
                    continue
                if ending.clean or agent in self._gone:
                    group.create_task(link.goodbye())
                else:
                    group.create_task(self._abort(link, ending.reason))
        waiting = [task for task in self._streams.values() if not task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=STREAM_END_TIMEOUT_S)
        for task in self._streams.values():
            task.cancel()
        if self._sending is not None:
            self._sending.cancel()
        await self._work.close()

    def look(self, group: asyncio.TaskGroup) -> None:
        """A few times a second: ask agents that have been silent for too long; end a stage that is steady."""
        self._end_if_steady(group)
        rule = self._rule
        if rule is None:
            return
        now = time.monotonic()
        for agent, heard in self._heard.items():
            silent = now - heard
            over = rule.heartbeat_interval * max(1, rule.missed_threshold)
            if silent > over and agent not in self._gone and agent not in self._queries:
                self._queries[agent] = group.create_task(self._query(self._links[agent], rule, silent))

    def _end_if_steady(self, group: asyncio.TaskGroup) -> None:
        """A stage with `until_steady` is over once its mean is known well enough; its agents are told once."""
        index, rule = self._until_steady
        tally = self._journal.fleet.tally.stages.get(index)
        if rule is None or tally is None or not known_to(tally.steady.view, rule.half_width):
            return
        self._until_steady = (0, None)
        text = f"stage {index} {tally.info.name} ends, as its mean is known to ±{rule.half_width:.3%}"
        self._journal.note(Level.INFO, text, code="steady")
        for agent, link in self._links.items():
            if agent not in self._gone:
                group.create_task(self._end_stage(link, index))

    async def _end_stage(self, link: AgentLink, index: int) -> None:
        try:
            await link.end_stage(index)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, Sai3Error) as error:
            # Its stream is broken; whoever reads it says why.
            logger.debug("end of stage %d to agent %s: %r", index, link.id, error)

    async def _stage(self, index: int, stage: Stage, participants: tuple[str, ...]) -> Release:
        self._until_steady = (index, stage.until_steady)
        whole = stage.timeout + STAGE_GRACE_S if stage.timeout is not None else None
        if stage.type in (StageType.EXECUTE, StageType.HYBRID) and stage.duration is not None and whole is not None:
            whole = max(whole, stage.duration + STAGE_GRACE_S)
        rule = BarrierRule(stage.barrier.type, f"{index} ({stage.name})", stage.barrier.agent_barrier_timeout, whole)
        try:
            released = await self._barrier(index, rule, participants, stage.type.value)
        except RunStopped as stopped:
            self._journal.emit(StageFinished(time.time_ns(), "", index, stage.name, stopped.ending.failure))
            raise
        self._complete = self._work.finish(index)
        failure = self._stage_failures.get(index)
        self._journal.emit(StageFinished(time.time_ns(), "", index, stage.name, failure))
        return released

    async def _barrier(self, index: int, rule: BarrierRule, participants: tuple[str, ...], stage_type: str) -> Release:
        began = time.monotonic()
        while True:
            self._changed.clear()
            if self._work.fatal is not None:
                raise RunStopped(failed(self._work.fatal, stage_type))
            expected = tuple(agent for agent in participants if agent not in self._work.excused)
            facts = BarrierFacts(expected, began, self._arrived.get(index, {}), self._gone)
            now = time.monotonic()
            match decide(rule, facts, now):
                case Release() as released:
                    for agent in released.late:
                        await self._exclude(agent, index)
                    return released
                case Fail(failure):
                    raise RunStopped(failed(failure, stage_type))
                case Wait(_, until):
                    timeout = None if until is None else max(0.01, until - now)
                    try:
                        await asyncio.wait_for(self._changed.wait(), timeout)
                    except TimeoutError:
                        continue

    async def _release(self, index: int, released: Release, delay_s: float) -> None:
        links = [self._links[agent] for agent in released.arrived if agent not in self._gone]
        unsure = max((link.clock.uncertainty_ns for link in links), default=0)
        start_ns = time.time_ns() + int(max(delay_s, RELEASE_MARGIN_S) * 1e9) + 2 * unsure
        missing = (*released.late, *released.lost)
        self._journal.emit(
            BarrierReleased(time.time_ns(), "", index, start_ns, released.arrived, missing, released.reason)
        )
        going = (link.release(index, start_ns, complete=self._complete) for link in links)
        results = await asyncio.gather(*going, return_exceptions=True)
        for link, result in zip(links, results, strict=True):
            if isinstance(result, Exception):
                # Its stream is broken; whoever reads it says why.
                logger.debug("release %d to agent %s: %r", index, link.id, result)

    async def _all_completed(self) -> None:
        deadline = time.monotonic() + COMPLETED_TIMEOUT_S
        while not set(self._links) <= self._completed | set(self._gone):
            self._changed.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                late = ", ".join(sorted(set(self._links) - self._completed - set(self._gone)))
                self._journal.note(Level.WARNING, f"{late} did not say that the run is completed")
                return
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue

    async def _follow(self, link: AgentLink, spec: pb.RunSpec) -> None:
        try:
            await link.follow(spec, self._take, self._hear)
        except Sai3Error as error:
            self._lose(link.id, error.failure())
        finally:
            self._left.add(link.id)
            self._changed.set()

    def _take(self, item: Item) -> None:
        if isinstance(item, Report | BarrierArrived) and item.agent in self._work.excused:
            # Others do its work now, which is counted there.
            return
        if isinstance(item, BarrierArrived):
            if self._work.through(item.stage_index, item.agent):
                self._arrived.setdefault(item.stage_index, {})[item.agent] = time.monotonic()
            if item.summary is not None and item.summary.failure is not None:
                self._stage_failures.setdefault(item.stage_index, item.summary.failure)
        elif isinstance(item, StateChanged):
            self._links[item.agent].state = item.state
            if item.state is AgentState.COMPLETED:
                self._completed.add(item.agent)
            elif item.state is AgentState.FAILED:
                self._give_up(item.agent, self._reason(item))
            elif item.state in (AgentState.ABORTING, AgentState.ABORTED):
                self._give_up(item.agent, self._aborted(item))
        self._journal.emit(item)
        self._changed.set()

    def _pass_on(self, group: asyncio.TaskGroup, source: str, part: pb.SharedPart) -> None:
        for agent, link in self._links.items():
            if agent != source and agent not in self._gone and agent in self._streams:
                group.create_task(link.share(part))

    def _hear(self, agent: str, now_ns: int, clock: object) -> None:
        self._heard[agent] = time.monotonic()
        self._queries.pop(agent, None)
        self._journal.heard(agent, now_ns, self._links[agent].clock)

    def _lose(self, agent: str, failure: Failure) -> None:
        if agent in self._gone or agent in self._completed:
            return
        self._journal.lost(agent, failure)
        self._journal.emit(StateChanged(time.time_ns(), agent, AgentState.LOST, 0, "", failure))
        self._give_up(agent, failure)
        self._changed.set()

    def _give_up(self, agent: str, failure: Failure) -> None:
        """It does nothing more. If that is the fault of its host, others may do its work."""
        if agent in self._gone:
            return
        self._gone[agent] = failure
        self._tell_of_loss(agent, failure)
        if failure.kind in _LOST:
            survivors = [name for name in self._links if name not in self._gone]
            for name in self._work.lose(agent, failure, survivors):
                for arrived in self._arrived.values():
                    arrived.pop(name, None)

    def _tell_of_loss(self, agent: str, failure: Failure) -> None:
        """If it is the agent that finds things out for all, the others need not wait for that."""
        link = self._links[agent]
        if link.on_shared is not None and agent == next(iter(self._links)):
            link.on_shared(agent, pb.SharedPart(lost=failure.message))

    def _reason(self, item: StateChanged) -> Failure:
        failure = item.failure
        if failure is None:
            failure = AgentLostError(
                f"agent {item.agent} failed without saying why: {item.reason or 'no reason given'}",
                hint="look at that agent's log",
            ).failure()
        return failure.with_context(agent=failure.context.agent or item.agent)

    def _aborted(self, item: StateChanged) -> Failure:
        return AgentLostError(
            f"agent {item.agent} aborted the run: {item.reason or 'no reason given'}",
            hint="look at that agent's log; somebody ended it or aborted the run there",
            context=ErrorContext(agent=item.agent, endpoint=self._links[item.agent].address),
        ).failure()

    async def _abort(self, link: AgentLink, reason: str) -> None:
        state = await link.abort(reason)
        if state is None:
            words = link.last_words
            text = f"abort was not answered: {words.message}" if words is not None else "abort was not answered"
            self._journal.note(Level.WARNING, text, agent=link.id)
        elif state is not AgentState.IDLE:
            self._journal.note(Level.WARNING, f"still {state.word} after the abort", agent=link.id)

    async def _exclude(self, agent: str, index: int) -> None:
        failure = AgentLostError(
            f"agent {agent} was late at barrier {index} and left behind", context=ErrorContext(agent=agent)
        ).failure()
        await self._links[agent].abort(f"late at barrier {index}")
        self._lose(agent, failure)

    async def _query(self, link: AgentLink, rule: Barrier, silent_s: float) -> None:
        self._journal.note(Level.WARNING, f"silent for {silent_s:.0f} s, asking", agent=link.id)
        for _ in range(1 + max(0, rule.query_retries)):
            if await link.status(rule.query_timeout) is not None:
                # It lives, only its stream is slow: count from now again.
                self._heard[link.id] = time.monotonic()
                self._queries.pop(link.id, None)
                return
        error = AgentLostError(
            f"agent {link.id} at {link.address} has been silent for {silent_s:.0f} s and does not answer",
            hint="check that host and the network to it",
            context=ErrorContext(agent=link.id, endpoint=link.address),
        )
        self._lose(link.id, error.failure())
