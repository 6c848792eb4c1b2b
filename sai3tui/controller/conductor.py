"""Leads agents through the stages of one run: streams, barriers, releases, losses, and the way out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

import grpc

from sai3tui.config.model import Barrier, BarrierType, Stage, StageType, UntilSteady
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.attaching import Messages, as_said
from sai3tui.controller.barrier import BarrierRule, Fail, Release
from sai3tui.controller.barriers import Barriers, Waiting, liveness_rule
from sai3tui.controller.coordinator import Coordinator
from sai3tui.controller.journal import Journal
from sai3tui.controller.liveness import Ask, Lose, Rejoin
from sai3tui.controller.planning import RunPlan
from sai3tui.controller.request import DETACHED, INCOMPLETE, SUCCESS, Ending, RunStopped, failed
from sai3tui.controller.stage_work import StageWork
from sai3tui.errors import AgentLostError, ErrorContext, ErrorKind, Failure, Sai3Error
from sai3tui.events import (
    AgentState,
    BarrierArrived,
    BarrierReleased,
    Level,
    ReleaseSeen,
    Report,
    StageFinished,
    StateChanged,
    Steered,
)
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.steady import known_to
from sai3tui.results.tally import Item

logger = logging.getLogger(__name__)

RELEASE_MARGIN_S = 0.2
COMPLETED_TIMEOUT_S = 10.0
STREAM_END_TIMEOUT_S = 5.0
STAGE_GRACE_S = 30.0
RETRY_S = 2.0
"""So long after a lost agent could not be told to stop is it tried again."""
LAST_WORD_S = 2.0
_STOPPED = frozenset({AgentState.ABORTING, AgentState.ABORTED, AgentState.FAILED})
"""States that an agent says itself in which there is nothing to stop."""
_LOST = frozenset({ErrorKind.AGENT_LOST, ErrorKind.RESOURCE})
"""Failures that are one host's, and say nothing about what the others can do."""


class Conductor:
    """One run on connected agents. Belongs to the session's loop; all it starts runs in `group`, the session's."""

    def __init__(
        self,
        plan: RunPlan,
        run_id: str,
        links: Iterable[AgentLink],
        journal: Journal,
        coordinator: Coordinator,
        group: asyncio.TaskGroup,
    ) -> None:
        self._plan = plan
        self._run_id = run_id
        self._links = {link.id: link for link in links}
        self._journal = journal
        self._group = group
        self._machine = Barriers(self._links, time.monotonic())
        self._controller = ""
        self._stage_failures: dict[int, Failure] = {}
        self._left: set[str] = set()
        self._completed: set[str] = set()
        self._opened: dict[int, BarrierReleased] = {}
        self._finished: set[int] = set()
        self._held: list[Item] | None = None
        self._heard_work: list[tuple[str, pb.AgentMessage]] = []
        self._taken_by = ""
        self._over = False
        """Whether the run is being ended: nobody gets any more work."""
        self._asking: set[asyncio.Task[None]] = set()
        self._untold: set[str] = set()
        """Agents that are lost, and have not been told so."""
        self._changed = asyncio.Event()
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._work = StageWork(plan, coordinator, self._assign, journal.emit)
        self._sending: asyncio.Task[None] | None = None
        self._complete = False
        """Whether all objects of the generation exist since the last stage, which was a prepare."""
        self._until_steady: tuple[int, UntilSteady | None] = (0, None)
        """The stage that ends when it is steady, and the rule; no rule if there is none."""

    def open_streams(self, first: Mapping[str, pb.ControllerMessage], controller: str) -> None:
        """Start or join the run on every agent that is named; from now on what they say reaches the journal."""
        self._controller = controller
        self._sending = self._group.create_task(self._work.run())
        for link in self._links.values():
            link.on_message = self._hear_work
            link.on_shared = self._pass_on
        for agent, message in first.items():
            self._open(self._links[agent], message)

    # --- coming to a run in progress

    def hold(self) -> None:
        """Keep what agents say until `adopt`."""
        self._held = []

    async def seated(self, timeout_s: float) -> None:
        """Until every agent has taken our stream. Raises RunStopped with what one refused it with, or if one does not
        answer."""
        waiting = {agent: asyncio.ensure_future(self._links[agent].seated.wait()) for agent in self._streams}
        try:
            async with asyncio.timeout(timeout_s):
                for agent, seat in waiting.items():
                    await asyncio.wait({seat, self._streams[agent]}, return_when=asyncio.FIRST_COMPLETED)
                    if not seat.done():
                        raise RunStopped(failed(self._machine.lost.get(agent) or self._not_seated(agent)))
        except TimeoutError:
            raise RunStopped(failed(self._not_seated(next(a for a, s in waiting.items() if not s.done())))) from None
        finally:
            for seat in waiting.values():
                seat.cancel()

    def adopt(self, items: Iterable[Item], messages: Messages) -> None:
        """Go on from this history, then with what was held; `messages` are those that agents have kept of it."""
        now, now_ns = time.monotonic(), time.time_ns()
        items = list(items)
        for agent, message in as_said(messages, {agent: link.clock.offset_ns for agent, link in self._links.items()}):
            self._work.replay(agent, message)
        for item in items:
            if isinstance(item, BarrierReleased):
                self._opened[item.stage_index] = item
                self._machine.opened(item.arrived, item.missing)
            elif isinstance(item, StageFinished):
                self._finished.add(item.stage_index)
            elif isinstance(item, StateChanged):
                self._state(item)
        opened = max(self._opened, default=None)
        complete = self._work.resume(opened, tuple(self._links) if opened is None else self._opened[opened].arrived)
        for (agent, _), message in messages.items():
            if message.HasField("shared"):
                self._pass_on(agent, message.shared)
            elif message.HasField("released") and message.released.stage_index == opened:
                complete = complete or message.released.generation_complete
        self._complete = complete
        for item in items:
            if isinstance(item, BarrierArrived):
                self._arrive(item, now - max(0.0, (now_ns - item.time_ns) / 1e9))
        held, self._held = self._held or [], None
        heard, self._heard_work = self._heard_work, []
        for agent, message in heard:
            if (agent, message.sequence) not in messages:
                self._work.take(agent, message)
        for item in held:
            if (item.agent, item.sequence) not in messages:
                self._take(item)

    def give_up(self, agent: str, failure: Failure) -> None:
        """The agent is not to be had any more."""
        self._give_up(agent, failure)
        self._tell_loss(agent, failure)

    # --- the run

    async def play(self) -> Ending:
        """All stages with their barriers, those that history has seen open left out. Raises RunStopped where the run
        cannot go on."""
        config = self._plan.resolved.config
        stages = self._plan.resolved.stages
        participants = tuple(self._links)
        for index in range(len(stages) + 1):
            opened = self._opened.get(index)
            if opened is not None:
                participants = opened.arrived
                if index == max(self._opened):
                    # Its controller may have ended before all had heard of it.
                    await self._send_release(opened)
                continue
            if index == 0:
                barrier = Barrier(agent_barrier_timeout=config.distributed.agent_ready_timeout)
                wait_s = barrier.agent_barrier_timeout
                rule = BarrierRule(BarrierType.ALL_OR_NOTHING, "0 (ready)", wait_s, wait_s)
                released = await self._barrier(0, rule, barrier, participants, "")
            else:
                released = await self._stage(index, stages[index - 1], participants)
            await self._next_work(index, released)
            # A local run has nobody to wait for: the delay is for fleets.
            delayed = index == 0 and not config.distributed.local
            await self._release(index, released, config.distributed.start_delay if delayed else 0.0)
            participants = released.arrived
        await self._all_completed()
        return SUCCESS if self._machine.complete else INCOMPLETE

    async def end(self, ending: Ending) -> None:
        """Leave every agent idle: goodbye to those that are through or failed, abort for the others. Bounded."""
        self._over = True
        self._stop_asking()
        lost = self._machine.lost
        async with asyncio.TaskGroup() as group:
            for agent, link in self._links.items():
                if agent in self._untold:
                    group.create_task(self._last_word(link))
                    continue
                if agent in self._left or agent not in self._streams:
                    continue
                if ending.clean or agent in lost:
                    group.create_task(link.goodbye())
                else:
                    group.create_task(self._abort(link, ending.reason))
        waiting = [task for task in self._streams.values() if not task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=STREAM_END_TIMEOUT_S)
        for task in self._streams.values():
            task.cancel()
        await self._close_work()

    async def leave(self) -> None:
        """Go, and leave the run to the agents: they go on to the next barrier and hold there. Bounded."""
        self._stop_asking()
        for link in self._links.values():
            link.leave()
        if self._streams:
            await asyncio.wait(self._streams.values(), timeout=STREAM_END_TIMEOUT_S)
        for task in self._streams.values():
            task.cancel()
        await self._close_work()

    async def _close_work(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        await self._work.close()

    def waiting(self) -> Waiting | None:
        """What the current barrier waits for."""
        return self._machine.waiting(time.monotonic())

    # --- steering

    def wait_longer(self, seconds: float) -> None:
        self._machine.wait_longer(seconds)
        self._steered("wait longer", seconds=seconds)

    def release_without(self, agent: str) -> None:
        if agent in self._links:
            self._machine.release_without(agent)
            self._steered("release without", agent)

    def pause(self) -> None:
        self._machine.pause()
        self._steered("pause at the next barrier")

    def go_on(self) -> None:
        self._machine.go_on()
        self._steered("go on")

    def _steered(self, command: str, subject: str = "", seconds: float = 0.0) -> None:
        self._journal.emit(Steered(time.time_ns(), "", command, subject, seconds))
        self._changed.set()

    # --- barriers

    def look(self) -> None:
        """A few times a second: a stage with `until_steady` is over once its mean is known well enough."""
        index, rule = self._until_steady
        tally = self._journal.fleet.tally.stages.get(index)
        if rule is None or tally is None or not known_to(tally.steady.view, rule.half_width):
            return
        self._until_steady = (0, None)
        text = f"stage {index} {tally.info.name} ends, as its mean is known to ±{rule.half_width:.3%}"
        self._journal.note(Level.INFO, text, code="steady")
        lost = self._machine.lost
        for agent, link in self._links.items():
            if agent not in lost and agent in self._streams:
                self._spawn(self._end_stage(link, index))

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
            released = await self._barrier(index, rule, stage.barrier, participants, stage.type.value)
        except RunStopped as stopped:
            if stopped.ending.status != DETACHED:
                self._finish_stage(index, stage, stopped.ending.failure)
            raise
        self._complete = self._work.finish(index)
        self._finish_stage(index, stage, self._stage_failures.get(index))
        return released

    async def _next_work(self, index: int, released: Release) -> None:
        """Barrier `index` is about to open: tell agents what to do in the stage after it."""
        if index == 0:
            await self._work.ready()
        stages = self._plan.resolved.stages
        if index < len(stages):
            lost = self._machine.lost
            present = [agent for agent in released.arrived if agent not in lost]
            await self._work.begin(index + 1, stages[index], present)

    async def _assign(self, agent: str, assignment: pb.Assignment) -> None:
        await self._links[agent].assign(assignment)

    def _hear_work(self, agent: str, message: pb.AgentMessage) -> None:
        if self._held is not None:
            self._heard_work.append((agent, message))
        else:
            self._work.take(agent, message)

    def _finish_stage(self, index: int, stage: Stage, failure: Failure | None) -> None:
        if index not in self._finished:
            self._finished.add(index)
            self._journal.emit(StageFinished(time.time_ns(), "", index, stage.name, failure))

    async def _barrier(
        self, index: int, rule: BarrierRule, barrier: Barrier, participants: tuple[str, ...], stage_type: str
    ) -> Release:
        machine = self._machine
        machine.begin(index, rule, liveness_rule(barrier), participants, time.monotonic())
        while True:
            self._changed.clear()
            self._check_lead()
            if self._work.fatal is not None:
                raise RunStopped(failed(self._work.fatal, stage_type))
            for action in machine.actions(time.monotonic()):
                match action:
                    case Ask(agent, timeout_s):
                        self._spawn(self._query(self._links[agent], timeout_s))
                    case Rejoin(agent):
                        self._rejoin(self._links[agent])
                    case Lose(agent, failure):
                        self._hand_on(agent, failure)
                        self._tell_loss(agent, failure)
                    case Release() as released:
                        return released
                    case Fail(failure):
                        raise RunStopped(failed(failure, stage_type))
            now = time.monotonic()
            due = machine.due(now)
            await self._change(None if due is None else max(0.01, due - now))

    async def _release(self, index: int, released: Release, delay_s: float) -> None:
        unsure = max((self._links[agent].clock.uncertainty_ns for agent in released.arrived), default=0)
        start_ns = time.time_ns() + int(max(delay_s, RELEASE_MARGIN_S) * 1e9) + 2 * unsure
        missing = (*released.late, *released.lost)
        opened = BarrierReleased(time.time_ns(), "", index, start_ns, released.arrived, missing, released.reason)
        self._opened[index] = opened
        self._journal.emit(opened)
        await self._send_release(opened)
        for agent in released.late:
            await self._exclude(self._links[agent], index)

    async def _send_release(self, opened: BarrierReleased) -> None:
        lost = self._machine.lost
        links = [self._links[agent] for agent in opened.arrived if agent in self._streams and agent not in lost]
        results = await asyncio.gather(
            *(link.release(opened, complete=self._complete) for link in links), return_exceptions=True
        )
        for link, result in zip(links, results, strict=True):
            if isinstance(result, Exception):
                # Its stream is broken; whoever reads it says why.
                logger.debug("release %d to agent %s: %r", opened.stage_index, link.id, result)

    async def _exclude(self, link: AgentLink, index: int) -> None:
        reason = f"late at barrier {index}"
        again = "" if index == len(self._plan.resolved.stages) else "; it takes part again from the next barrier on"
        self._journal.note(Level.WARNING, f"{reason} and left behind{again}", agent=link.id, code="excluded")
        try:
            await link.exclude(index, reason)
        except Exception as error:
            # Its stream is broken; whoever reads it says why.
            logger.debug("exclusion of agent %s: %r", link.id, error)

    async def _all_completed(self) -> None:
        deadline = time.monotonic() + COMPLETED_TIMEOUT_S
        while late := sorted(set(self._links) - self._completed - set(self._machine.lost)):
            self._changed.clear()
            self._check_lead()
            left = deadline - time.monotonic()
            if left <= 0:
                self._journal.note(Level.WARNING, f"{', '.join(late)} did not say that the run is completed")
                return
            await self._change(left)

    async def _change(self, timeout_s: float | None) -> None:
        """Until something happens, or the time is up. Not `wait_for`, which takes no notice of being cancelled when
        something happens at the same moment: a session that is cancelled would go on without streams."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    def _check_lead(self) -> None:
        if self._taken_by:
            raise RunStopped(Ending(DETACHED, 0, None, f"{self._taken_by} leads the run now"))

    # --- streams

    def _open(self, link: AgentLink, first: pb.ControllerMessage) -> None:
        self._machine.heard(link.id, time.monotonic())
        self._left.discard(link.id)
        self._streams[link.id] = self._group.create_task(self._follow(link, first))

    def _rejoin(self, link: AgentLink) -> None:
        self._journal.note(Level.WARNING, "its stream broke off; opening another one", agent=link.id, code="rejoin")
        wanted = pb.Subscribe(cursor=link.cursor, lead=True, controller=self._controller)
        self._left.discard(link.id)
        self._streams[link.id] = self._group.create_task(self._follow(link, pb.ControllerMessage(subscribe=wanted)))

    async def _follow(self, link: AgentLink, first: pb.ControllerMessage) -> None:
        try:
            await link.follow(self._run_id, first, self._take, self._hear, self._displaced)
        except Sai3Error as error:
            failure = error.failure()
            if link.id in self._completed:
                pass
            elif failure.kind is ErrorKind.AGENT_LOST:
                self._machine.broke(link.id, failure, time.monotonic())
            else:
                self.give_up(link.id, failure)
        finally:
            self._left.add(link.id)
            self._changed.set()

    def _displaced(self, by: str) -> None:
        self._taken_by = by
        self._changed.set()

    def _take(self, item: Item) -> None:
        if self._held is not None:
            self._held.append(item)
            return
        if isinstance(item, Report | BarrierArrived) and item.agent in self._work.excused:
            # Others do its work now, which is counted there.
            return
        if isinstance(item, BarrierArrived):
            self._arrive(item, time.monotonic())
        elif isinstance(item, StateChanged):
            self._state(item)
        self._journal.emit(item)
        if not isinstance(item, ReleaseSeen):
            self._changed.set()

    def _arrive(self, item: BarrierArrived, at: float) -> None:
        if self._work.through(item.stage_index, item.agent):
            self._machine.arrived(item.agent, item.stage_index, at)
        if item.summary is not None and item.summary.failure is not None:
            self._stage_failures.setdefault(item.stage_index, item.summary.failure)

    def _state(self, item: StateChanged) -> None:
        if item.agent not in self._links:
            return
        self._links[item.agent].state = item.state
        if item.state is AgentState.COMPLETED:
            self._completed.add(item.agent)
            self._machine.settled(item.agent)
        elif item.state in (AgentState.FAILED, AgentState.LOST):
            self._give_up(item.agent, self._reason(item))
        elif item.state in (AgentState.ABORTING, AgentState.ABORTED):
            self._give_up(item.agent, self._aborted(item))

    def _pass_on(self, source: str, part: pb.SharedPart) -> None:
        lost = self._machine.lost
        for agent, link in self._links.items():
            if agent != source and agent not in lost and agent in self._streams:
                self._spawn(link.share(part))

    def _hear(self, agent: str, now_ns: int, clock: object) -> None:
        self._machine.heard(agent, time.monotonic())
        self._journal.heard(agent, now_ns, self._links[agent].clock)

    async def _query(self, link: AgentLink, timeout_s: float) -> None:
        status = await link.status(timeout_s)
        now = time.monotonic()
        if status is None:
            self._machine.unheard(link.id, now)
        elif status.run_id == self._run_id and status.state != pb.IDLE:
            self._machine.answered(link.id, now)
        else:
            error = AgentLostError(
                f"agent {link.id} at {link.address} does not know this run any more",
                hint="it was probably started anew; look at its log",
                context=ErrorContext(agent=link.id, endpoint=link.address),
            )
            self.give_up(link.id, error.failure())
        self._changed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _stop_asking(self) -> None:
        for task in tuple(self._asking):
            task.cancel()

    # --- losses

    def _give_up(self, agent: str, failure: Failure) -> None:
        """It does nothing more."""
        if agent not in self._machine.lost:
            self._machine.gone(agent, failure)
            self._hand_on(agent, failure)

    def _hand_on(self, agent: str, failure: Failure) -> None:
        """If the loss is the fault of its host, others may do its work."""
        self._tell_of_loss(agent, failure)
        if failure.kind is ErrorKind.AGENT_LOST:
            self._stop_lost(agent)
        if failure.kind not in _LOST or self._over:
            return
        lost = self._machine.lost
        for name in self._work.lose(agent, failure, [name for name in self._links if name not in lost]):
            self._machine.takes_back(name)
        for name in self._work.excused:
            self._machine.excuse(name)

    def _stop_lost(self, agent: str) -> None:
        """It may live: then it is to stop, and not to hold at a barrier that nobody opens for it."""
        if self._links[agent].state not in _STOPPED:
            self._untold.add(agent)
            self._spawn(self._keep_telling(self._links[agent]))

    async def _keep_telling(self, link: AgentLink) -> None:
        while not await self._tell_to_stop(link):  # noqa: ASYNC110 - the condition is a call
            await asyncio.sleep(RETRY_S)

    async def _tell_to_stop(self, link: AgentLink) -> bool:
        """Whether a lost agent has taken it."""
        reply = await link.abort("it was taken for lost")
        if reply is None:
            return False
        self._untold.discard(link.id)
        if reply.was_running:
            self._journal.note(Level.WARNING, "lives after all, and was told to stop", agent=link.id, code="fenced")
        return True

    async def _last_word(self, link: AgentLink) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                await self._tell_to_stop(link)

    def _tell_loss(self, agent: str, failure: Failure) -> None:
        if agent in self._completed:
            return
        self._journal.lost(agent, failure)
        self._journal.emit(StateChanged(time.time_ns(), agent, AgentState.LOST, 0, "", failure))
        self._changed.set()

    def _not_seated(self, agent: str) -> Failure:
        return AgentLostError(
            f"agent {agent} at {self._links[agent].address} did not take part in time",
            hint="check that host and the network to it",
            context=ErrorContext(agent=agent, endpoint=self._links[agent].address),
        ).failure()

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
        reply = await link.abort(reason)
        if reply is None:
            words = link.last_words
            text = f"abort was not answered: {words.message}" if words is not None else "abort was not answered"
            self._journal.note(Level.WARNING, text, agent=link.id)
        elif reply.state != pb.IDLE:
            self._journal.note(Level.WARNING, f"still {AgentState(reply.state).word} after the abort", agent=link.id)
