"""Leads agents through the stages of one run: barriers, releases, work, losses, and the way out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from sai3tui.clock import now_ns
from sai3tui.config.model import Barrier, BarrierType, Stage, StageType, UntilSteady
from sai3tui.controller.agent_link import AgentLink, bounded, saying
from sai3tui.controller.attaching import Messages, as_said
from sai3tui.controller.barrier import BarrierRule, Fail, Release
from sai3tui.controller.barriers import LeaveBehind, Waiting, liveness_rule
from sai3tui.controller.coordinator import Coordinator
from sai3tui.controller.fencing import Fence
from sai3tui.controller.journal import Journal
from sai3tui.controller.lead import Lead
from sai3tui.controller.liveness import Ask, Lose, Rejoin
from sai3tui.controller.planning import RunPlan
from sai3tui.controller.refusals import aborted_there, failed_there
from sai3tui.controller.request import INCOMPLETE, SUCCESS, Ending, RunStopped, failed
from sai3tui.controller.snapshot import Outcome
from sai3tui.controller.stage_work import StageWork
from sai3tui.controller.steering import Steering
from sai3tui.controller.streams import Streams
from sai3tui.controller.teller import Teller
from sai3tui.errors import ErrorKind, Failure, Sai3Error
from sai3tui.events import (
    AgentState,
    BarrierArrived,
    BarrierReleased,
    Level,
    ReleaseSeen,
    Report,
    RunFinished,
    StageFinished,
    StateChanged,
)
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.steady import known_to
from sai3tui.results.tally import Item

logger = logging.getLogger(__name__)

RELEASE_MARGIN_S = 0.2
COMPLETED_TIMEOUT_S = 10.0
STAGE_GRACE_S = 30.0
SEATED_TIMEOUT_S = 10.0
"""How long an agent may take to take a stream that is opened again; if it does not, that one breaks off as well."""
LAST_ORDERS_S = 2.0
"""How long whoever leaves waits for agents to say that they have heard what they were told to do."""


class Displaced(Exception):
    """Raised where a run is led when another controller has taken it over. `opened` are the barriers that have opened,
    by the number of the stage before them."""

    def __init__(self, lead: Lead, opened: Mapping[int, BarrierReleased]) -> None:
        super().__init__(lead.sentence)
        self.lead = lead
        self.opened = opened


class Conductor:
    """One run on connected agents, led. Belongs to the session's loop."""

    def __init__(self, plan: RunPlan, streams: Streams, journal: Journal, coordinator: Coordinator) -> None:
        self._plan = plan
        self._streams = streams
        self._links = streams.links
        self._machine = streams.machine
        self._journal = journal
        self._steering = Steering(streams.machine, journal)
        self._teller = Teller(streams, journal)
        if plan.local:
            # Nobody else comes to the agent of one controller.
            self._teller.stop()
        self._fence = Fence(streams, journal)
        self._stage_failures: dict[int, Failure] = {}
        self._missing: dict[int, Failure] = {}
        """What was left undone in stages, and why."""
        self._opened: dict[int, BarrierReleased] = {}
        self._finished: set[int] = set()
        self._excluded: set[tuple[str, int]] = set()
        """Agents that have said that they were left behind, and at which barrier."""
        self._taken: Lead | None = None
        self._over = False
        """Whether the run is being ended: nobody gets any more work."""
        self._work = StageWork(plan.resolved, coordinator, self._machine, self._assign, journal.emit)
        self._sending: asyncio.Task[None] | None = None
        self._complete = False
        """Whether all objects of the generation exist since the last stage, which was a prepare."""
        self._until_steady: tuple[int, UntilSteady | None] = (0, None)
        """The stage that ends when it is steady, and the rule; no rule if there is none."""
        self._known_well = 0
        """The stage that was ended because its mean is known."""
        self._passed_on: list[tuple[str, pb.SharedPart]] = []
        """What agents have found out for all in the current stage, and who."""

    # --- coming to a run in progress

    async def come(self) -> None:
        """Before `adopt`: ask agents what they have on record of objects. Bounded."""
        links = self._streams.present(self._links)
        asked = [link.on_record(self._streams.run_id) for link in links]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        records: dict[str, pb.OnRecordReply] = {}
        for link, answer in zip(links, answers, strict=True):
            if isinstance(answer, Sai3Error):
                text = f"what it has on record cannot be had, what it has said counts: {answer.message}"
                self._journal.note(Level.WARNING, text, agent=link.id, code="history")
            elif isinstance(answer, BaseException):
                raise answer
            elif answer.HasField("inventory"):
                records[link.id] = answer
        await self._work.come(records)

    def adopt(self, items: Iterable[Item], messages: Messages) -> None:
        """Go on from this history, then with what was held; `messages` are those that agents have kept of it."""
        now, at_ns = time.monotonic(), now_ns()
        items = list(items)
        for agent, message in as_said(messages, {agent: link.clock.offset_ns for agent, link in self._links.items()}):
            self._work.replay(agent, message)
        for item in items:
            if isinstance(item, BarrierReleased):
                self._opened[item.stage_index] = item
                self._machine.opened(item.stage_index, item.arrived, item.missing)
            elif isinstance(item, StageFinished):
                self._finished.add(item.stage_index)
            elif isinstance(item, StateChanged):
                failure = self._end_of(item)
                if failure is not None:
                    self._machine.gone(item.agent, failure)
        opened = max(self._opened, default=None)
        participants = tuple(self._links) if opened is None else self._opened[opened].arrived
        complete = self._work.resume(opened, participants, _through(items, (opened or 0) + 1))
        for (agent, _), message in messages.items():
            if message.HasField("shared"):
                self._pass_on(agent, message.shared)
            elif message.HasField("released") and message.released.stage_index == opened:
                complete = complete or message.released.generation_complete
        self._complete = complete
        for item in items:
            if isinstance(item, StateChanged) and item.state is AgentState.EXCLUDED and self._is_next(item.stage_index):
                self._machine.leave_behind(item.agent)
        self._work.leave_behind(self._machine.late, now)
        for item in items:
            if isinstance(item, BarrierArrived):
                self._arrive(item, now - max(0.0, (at_ns - item.time_ns) / 1e9))
        self._steering.adopt(items)
        for agent, failure in self._machine.lost.items():
            if agent in participants:
                # Who led then may have had no time to hand its work on, and those who get it have not heard of it.
                self._hand_on(agent, failure)
        self._streams.flow(messages)

    def _is_next(self, index: int) -> bool:
        """Whether barrier `index` is the first one that has not opened."""
        return index == max(self._opened, default=-1) + 1

    def give_up(self, agent: str, failure: Failure) -> None:
        """The agent is not to be had any more."""
        if agent not in self._machine.lost:
            self._give_up(agent, failure)
            self._tell_loss(agent, failure)

    # --- the run

    async def play(self) -> Ending:
        """All stages with their barriers, those that history has seen open left out. Raises RunStopped where the run
        cannot go on."""
        config = self._plan.resolved.config
        stages = self._plan.resolved.stages
        participants = tuple(self._links)
        if not self._opened:
            self._teller.tell_findings()
        for index in range(len(stages) + 1):
            opened = self._opened.get(index)
            if opened is not None:
                participants = opened.arrived
                if index == max(self._opened):
                    # Its controller may have ended before all had heard of it.
                    await self._send_release(opened)
                    await self._exclude_again()
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
        if self._machine.complete:
            return SUCCESS
        return replace(INCOMPLETE, failure=next(iter((*self._missing.values(), *self._failed_agents())), None))

    def _failed_agents(self) -> Iterator[Failure]:
        """Why agents have failed. That others were lost is no failure of the run; its coverage says so."""
        return (failure for failure in self._machine.lost.values() if failure.kind is not ErrorKind.AGENT_LOST)

    def begin_work(self, group: asyncio.TaskGroup) -> None:
        """From now on agents are told what to do, in a task of `group`."""
        self._sending = group.create_task(self._work.run())

    async def end(self, ending: Ending) -> None:
        """Leave every agent idle: goodbye to those that are through or failed, abort for the others. Bounded. Raises
        Displaced if another controller leads the run by now."""
        self._over = True
        streams = self._streams
        self._check_lead()
        outcome = Outcome(ending.status, ending.exit_code, ending.failure)
        if ending.clean:
            outcome = self._journal.judge(outcome)
        finished = RunFinished(now_ns(), "", outcome.status, outcome.exit_code, outcome.failure)
        await self._teller.last_word(finished)
        streams.stop_asking()
        lost = self._machine.lost
        async with asyncio.TaskGroup() as group:
            for agent, link in self._links.items():
                if agent in self._fence.untold:
                    group.create_task(self._fence.last_word(link))
                    continue
                if agent in streams.left or agent not in streams:
                    continue
                if agent in lost or (ending.clean and agent in self._machine.completed):
                    group.create_task(link.goodbye())
                else:
                    group.create_task(self._abort(link, ending.reason))
        if self._taken is None:
            await streams.ended()
        else:
            await streams.leave()
        if self._taken is None:
            self._work.over()
        await self.step_down()
        self._check_lead()

    async def leave(self) -> None:
        """Go, and leave the run to the agents: they go on to the next barrier and hold there. Whom work of a lost agent
        was just handed to has to know: whoever leads next would hand on what that one had done, too. Bounded."""
        await self._work.heard(LAST_ORDERS_S)
        await self._streams.leave()
        await self.step_down()

    async def step_down(self) -> None:
        """Nothing more is decided here, nor said to agents. Idempotent."""
        self._teller.stop()
        self._streams.stop_asking()
        if self._sending is not None:
            self._sending.cancel()
        await self._work.close()

    def waiting(self) -> Waiting | None:
        """What the current barrier waits for."""
        return self._machine.waiting(time.monotonic())

    def steer(self, command: Callable[[Steering], None]) -> None:
        """Do what somebody asks for."""
        command(self._steering)
        self._streams.changed.set()

    # --- barriers

    def look(self) -> None:
        """A few times a second: a stage with `until_steady` is over once its mean is known well enough."""
        index, rule = self._until_steady
        tally = self._journal.fleet.tally.stages.get(index)
        if rule is None or tally is None or not known_to(tally.steady.view, rule.half_width):
            return
        self._until_steady, self._known_well = (0, None), index
        text = f"stage {index} {tally.info.name} ends, as its mean is known to ±{rule.half_width:.3%}"
        self._journal.note(Level.INFO, text, code="steady")
        for link in self._streams.present(self._links):
            self._streams.spawn(self._end_stage(link, index))

    async def _end_stage(self, link: AgentLink, index: int) -> None:
        with saying(link, f"end of stage {index}"):
            await link.end_stage(index)

    async def _stage(self, index: int, stage: Stage, participants: tuple[str, ...]) -> Release:
        self._until_steady = (index, stage.until_steady)
        whole = stage.timeout + STAGE_GRACE_S if stage.timeout is not None else None
        if stage.type in (StageType.EXECUTE, StageType.HYBRID) and stage.duration is not None and whole is not None:
            whole = max(whole, stage.duration + STAGE_GRACE_S)
        rule = BarrierRule(stage.barrier.type, f"{index} ({stage.name})", stage.barrier.agent_barrier_timeout, whole)
        try:
            released = await self._barrier(index, rule, stage.barrier, participants, stage.type.value)
        except RunStopped as stopped:
            self._finish_stage(index, stage, stopped.ending.failure)
            raise
        self._complete, missing = self._work.finish(index)
        if missing is not None:
            self._missing[index] = missing
        self._finish_stage(index, stage, missing or self._stage_failures.get(index))
        return released

    async def _next_work(self, index: int, released: Release) -> None:
        """Barrier `index` is about to open: tell agents what to do in the stage after it."""
        if index == 0:
            self._work.ready()
        stages = self._plan.resolved.stages
        if index < len(stages):
            lost = self._machine.lost
            present = [agent for agent in released.arrived if agent not in lost]
            self._work.begin(index + 1, stages[index], present)
        await self._work.sent()

    async def _assign(self, agent: str, assignment: pb.Assignment) -> None:
        await self._links[agent].assign(assignment)

    def _finish_stage(self, index: int, stage: Stage, failure: Failure | None) -> None:
        if index not in self._finished:
            self._finished.add(index)
            self._journal.emit(StageFinished(now_ns(), "", index, stage.name, failure))

    async def _barrier(
        self, index: int, rule: BarrierRule, barrier: Barrier, participants: tuple[str, ...], stage_type: str
    ) -> Release:
        machine = self._machine
        machine.begin(index, rule, liveness_rule(barrier), participants, time.monotonic())
        self._steering.begin()
        while True:
            self._streams.changed.clear()
            self._check_lead()
            if self._work.fatal is not None:
                raise RunStopped(failed(self._work.fatal, stage_type))
            for action in machine.actions(time.monotonic()):
                match action:
                    case Ask(agent, timeout_s):
                        self._streams.ask(agent, timeout_s)
                    case Rejoin(agent):
                        self._streams.rejoin(agent)
                        self._streams.spawn(self._say_again(self._links[agent]))
                    case Lose(agent, failure):
                        self._hand_on(agent, failure)
                        self._tell_loss(agent, failure)
                    case LeaveBehind(at, late):
                        await self._leave_behind(late, at, now=at == index)
                    case Release() as released:
                        return released
                    case Fail(failure):
                        raise RunStopped(failed(failure, stage_type))
            now = time.monotonic()
            due, terms = machine.outlook(now)
            self._steering.tell(now, terms)
            await self._streams.change(None if due is None else max(0.01, due - now))

    async def _release(self, index: int, released: Release, delay_s: float) -> None:
        unsure = max((self._links[agent].clock.uncertainty_ns for agent in released.arrived), default=0)
        start_ns = now_ns() + int(max(delay_s, RELEASE_MARGIN_S) * 1e9) + 2 * unsure
        missing = (*released.late, *released.lost)
        opened = BarrierReleased(now_ns(), "", index, start_ns, released.arrived, missing, released.reason)
        self._opened[index] = opened
        self._passed_on.clear()
        self._journal.emit(opened)
        await self._send_release(opened)

    async def _send_release(self, opened: BarrierReleased) -> None:
        links = self._streams.present(opened.arrived)
        await asyncio.gather(*(self._send_release_to(link, opened) for link in links))

    async def _send_release_to(self, link: AgentLink, opened: BarrierReleased) -> None:
        with saying(link, f"release {opened.stage_index}"):
            await link.release(opened, complete=self._complete)

    async def _leave_behind(self, agents: Iterable[str], index: int, *, now: bool) -> None:
        """Go on without agents that are late at barrier `index`: from this moment, or they have not heard of it."""
        if now:
            self._work.leave_behind(agents, time.monotonic())
            again = "" if index == len(self._plan.resolved.stages) else "; it takes part again from the next barrier on"
            for agent in agents:
                text = f"late at barrier {index} and left behind{again}"
                self._journal.note(Level.WARNING, text, agent=agent, code="excluded")
                self._journal.emit(StateChanged(now_ns(), agent, AgentState.EXCLUDED, index, text))
            self._streams.changed.set()
        for agent in agents:
            await self._send_exclusion(self._links[agent], index)

    async def _exclude_again(self) -> None:
        """Who was left behind before we came is told, unless it has said that it knows."""
        for link in self._streams.present(self._machine.excluded):
            index = max(index for index, opened in self._opened.items() if link.id in opened.missing)
            if (link.id, index) not in self._excluded:
                await self._send_exclusion(link, index)

    async def _send_exclusion(self, link: AgentLink, index: int) -> None:
        with saying(link, f"exclusion at barrier {index}"):
            await link.exclude(index, f"late at barrier {index}")

    async def _say_again(self, link: AgentLink) -> None:
        """What the stream that broke off may have swallowed. Agents take the first word on anything, so that who has
        heard it does nothing twice."""
        if await bounded(link.seated.wait(), SEATED_TIMEOUT_S) is None:
            return
        await self._work.say_again(link.id)
        await self._teller.say_again(link)
        for opened in list(self._opened.values()):
            if link.id in opened.arrived:
                await self._send_release_to(link, opened)
            elif link.id in opened.missing:
                await self._send_exclusion(link, opened.stage_index)
        if link.id in self._machine.late:
            await self._send_exclusion(link, max(self._opened) + 1)
        if self._known_well:
            await self._end_stage(link, self._known_well)
        # Not of a copy: a part that comes meanwhile overtakes those before it, which makes it worthless there.
        for source, part in self._passed_on:
            if source != link.id:
                await link.share(part)

    async def _all_completed(self) -> None:
        deadline = time.monotonic() + COMPLETED_TIMEOUT_S
        while late := sorted(set(self._links) - self._machine.completed - set(self._machine.lost)):
            self._streams.changed.clear()
            self._check_lead()
            for straggler in self._machine.stragglers():
                await self._leave_behind(straggler.agents, straggler.index, now=False)
            left = deadline - time.monotonic()
            if left <= 0:
                self._journal.note(Level.WARNING, f"{', '.join(late)} did not say that the run is completed")
                return
            await self._streams.change(left)

    def _check_lead(self) -> None:
        if self._taken is not None:
            raise Displaced(self._taken, self._opened)

    # --- what agents say

    def hear(self, agent: str, message: pb.AgentMessage) -> None:
        self._work.take(agent, message)
        body = message.WhichOneof("body")
        if body == "shared":
            self._pass_on(agent, message.shared)
        elif body == "told":
            self._teller.heard(agent, message.told)

    def take(self, item: Item) -> None:
        if isinstance(item, Report | BarrierArrived) and self._work.replaced(item.stage_index, item.agent):
            # Others do its work now, which is counted there.
            if isinstance(item, BarrierArrived):
                self._machine.arrived(item.agent, item.stage_index, time.monotonic())
                self._streams.changed.set()
            return
        if isinstance(item, BarrierArrived):
            self._arrive(item, time.monotonic())
        elif isinstance(item, StateChanged):
            self._state(item)
        self._journal.emit(item)
        if not isinstance(item, ReleaseSeen):
            self._streams.changed.set()

    def told_lead(self, agent: str, lead: Lead) -> None:
        if lead.by and lead.by != self._streams.controller:
            self._taken = lead

    def _arrive(self, item: BarrierArrived, at: float) -> None:
        if self._work.through(item.stage_index, item.agent):
            self._machine.arrived(item.agent, item.stage_index, at)
        if item.summary is not None and item.summary.failure is not None and item.agent not in self._machine.late:
            self._stage_failures.setdefault(item.stage_index, item.summary.failure)

    def _state(self, item: StateChanged) -> None:
        failure = self._end_of(item)
        if failure is not None:
            self._give_up(item.agent, failure)

    def _end_of(self, item: StateChanged) -> Failure | None:
        """Take in an agent's state; why it does nothing more, if that is so."""
        link = self._links.get(item.agent)
        if link is None:
            return None
        link.state = item.state
        if item.state is AgentState.COMPLETED:
            self._machine.settled(item.agent)
        elif item.state is AgentState.EXCLUDED and item.sequence:
            self._excluded.add((item.agent, item.stage_index))
        elif item.state in (AgentState.FAILED, AgentState.LOST):
            return failed_there(item)
        elif item.state in (AgentState.ABORTING, AgentState.ABORTED):
            return aborted_there(link, item.reason)
        return None

    def _pass_on(self, source: str, part: pb.SharedPart) -> None:
        self._passed_on.append((source, part))
        for link in self._streams.present(self._links):
            if link.id != source:
                self._streams.spawn(link.share(part))

    # --- losses

    def _give_up(self, agent: str, failure: Failure) -> None:
        """It does nothing more."""
        if agent not in self._machine.lost:
            self._machine.gone(agent, failure)
            self._hand_on(agent, failure)

    def _hand_on(self, agent: str, failure: Failure) -> None:
        """What it leaves is for others, or missing, or the end of the run."""
        self._steering.tell_anew()
        if agent == next(iter(self._links)):
            # It finds things out for all: the others need not wait for that.
            self._pass_on(agent, pb.SharedPart(lost=failure.message))
        if failure.kind is ErrorKind.AGENT_LOST:
            self._fence.stop(self._links[agent])
        if not self._over:
            self._work.lose(agent, failure, time.monotonic())

    def _tell_loss(self, agent: str, failure: Failure) -> None:
        if agent in self._machine.completed:
            return
        self._journal.lost(agent, failure)
        self._journal.emit(StateChanged(now_ns(), agent, AgentState.LOST, 0, "", failure))
        self._streams.changed.set()

    async def _abort(self, link: AgentLink, reason: str) -> None:
        reply = await link.abort(reason, self._streams.controller)
        if reply is None:
            words = link.last_words
            text = f"abort was not answered: {words.message}" if words is not None else "abort was not answered"
            self._journal.note(Level.WARNING, text, agent=link.id)
        elif reply.HasField("refused"):
            self.told_lead(link.id, link.lead(reply.refused))
            text = f"was not aborted: {(self._taken or Lead()).sentence}"
            self._journal.note(Level.WARNING, text, agent=link.id, code="refused")
        elif reply.state != pb.IDLE:
            self._journal.note(Level.WARNING, f"still {AgentState(reply.state).word} after the abort", agent=link.id)


def _through(items: Iterable[Item], index: int) -> frozenset[str]:
    """Who has arrived at this barrier, and has done all that it was given before it."""
    arrived = (item for item in items if isinstance(item, BarrierArrived) and item.stage_index == index)
    return frozenset(item.agent for item in arrived if item.summary is None or item.summary.failure is None)
