"""Watches a run that another controller leads: what agents say, and nothing said to them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

from sai3tui.clock import now_ns
from sai3tui.config.model import Barrier, BarrierType
from sai3tui.controller.attaching import Messages, made_again
from sai3tui.controller.barrier import BarrierRule
from sai3tui.controller.barriers import Terms, Waiting, liveness_rule
from sai3tui.controller.journal import Journal
from sai3tui.controller.lead import Lead, Leads
from sai3tui.controller.liveness import Ask, Lose, Rejoin
from sai3tui.controller.planning import RunPlan
from sai3tui.controller.refusals import aborted_there, failed_there
from sai3tui.controller.request import INCOMPLETE, SUCCESS, Ending, failed
from sai3tui.controller.snapshot import Outcome, Phase
from sai3tui.controller.streams import Streams
from sai3tui.controller.told import Hearsay, said
from sai3tui.errors import Failure
from sai3tui.events import (
    AbortRequested,
    AgentState,
    BarrierArrived,
    BarrierReleased,
    BarrierWait,
    Event,
    LeaderTold,
    Level,
    ReleaseSeen,
    Report,
    RunFinished,
    StageFinished,
    StateChanged,
)
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.tally import Item

LOOK_AGAIN_S = 30.0


class Viewer:
    """One run on connected agents, watched. Belongs to the session's loop. Barriers open when agents say that they
    did. `opened`: those that we know of, by the number of the stage before them."""

    def __init__(
        self,
        plan: RunPlan,
        streams: Streams,
        journal: Journal,
        opened: Mapping[int, BarrierReleased] | None = None,
    ) -> None:
        streams.leads = False
        self._plan = plan
        self._streams = streams
        self._machine = streams.machine
        self._journal = journal
        self._opened = dict(opened or {})
        self._finished: set[int] = set()
        self._leads = Leads()
        self._hearsay = Hearsay(streams.controller)
        self._wait: tuple[str, BarrierWait] | None = None
        """How long the leader waits at the current barrier, and who said so, if that is known."""
        self._ending: RunFinished | None = None
        """How the run ends, as the leader says."""
        self._taken_for_lost: set[str] = set()
        """Agents that the leader has lost, whether or not we hear of them."""

    def adopt(self, items: Iterable[Item], messages: Messages) -> None:
        """Go on from this history, then with what was held; `messages` are those that agents have kept of it."""
        now, at_ns = time.monotonic(), now_ns()
        for item in items:
            if isinstance(item, Event) and not item.sequence:
                self._hearsay.know(item)
            if isinstance(item, BarrierReleased):
                self._open(item)
            elif isinstance(item, StageFinished):
                self._finished.add(item.stage_index)
            elif isinstance(item, BarrierWait):
                self._wait = ("", item)
            elif isinstance(item, LeaderTold):
                event = said(item)
                self._ending = event if isinstance(event, RunFinished) else self._ending
            elif isinstance(item, StateChanged):
                self._state(item)
            elif isinstance(item, BarrierArrived):
                self._machine.arrived(item.agent, item.stage_index, now - max(0.0, (at_ns - item.time_ns) / 1e9))
        self._streams.flow(messages)

    def give_up(self, agent: str, failure: Failure) -> None:
        """The agent is not to be had any more."""
        self._gone(agent, failure)
        self._tell_loss(agent, failure)

    async def play(self) -> Ending:
        """Until every agent's stream has ended for good, which is when the run is over."""
        streams, machine = self._streams, self._machine
        self._begin()
        while not self._over:
            streams.changed.clear()
            for step in machine.signs(time.monotonic()):
                match step:
                    case Ask(agent, timeout_s):
                        streams.ask(agent, timeout_s)
                    case Rejoin(agent):
                        streams.rejoin(agent)
                    case Lose(agent, failure):
                        self._lead_without(agent)
                        self._tell_loss(agent, failure)
            now = time.monotonic()
            due = machine.signs_due(now)
            await streams.change(LOOK_AGAIN_S if due is None else min(max(0.01, due - now), LOOK_AGAIN_S))
        told, lost = self._ending, machine.lost
        if told is not None:
            # As the leader judged it: we may not have what it compares with.
            self._journal.over(Outcome(told.status, told.exit_code, told.failure))
            return Ending(told.status, told.exit_code, told.failure)
        if lost and not machine.completed:
            return failed(next(iter(lost.values())))
        return SUCCESS if machine.complete else INCOMPLETE

    @property
    def _over(self) -> bool:
        streams = self._streams
        done = self._machine.completed | set(self._machine.lost)
        # Who is lost to the leader may go on to talk to us; once the run is over, nobody waits for it.
        left = streams.left | self._taken_for_lost if self._ending is not None else streams.left
        return all(agent in done and agent in left for agent in streams.links if agent in streams)

    async def end(self, ending: Ending) -> None:
        """There is nothing to end: the run is not ours."""
        await self.leave()

    async def step_down(self) -> None:
        """There is nothing to step down from."""

    async def leave(self) -> None:
        """Go; nobody takes notice. Bounded."""
        await self._streams.leave()

    def look(self) -> None:
        """There is nothing to decide."""

    def waiting(self) -> Waiting | None:
        """What the current barrier waits for, and how long as far as the leader has told."""
        now, lead = time.monotonic(), self._leads.lead
        terms = None
        if self._wait is not None:
            wait = self._wait[1]
            until = now + (wait.deadline_ns - now_ns()) / 1e9 if wait.deadline_ns else None
            terms = Terms(wait.stage_index, until, wait.shut, wait.held, wait.without, wait.excused)
        return self._machine.watched(now, terms, led=bool(lead.by) or not lead.since_ns)

    # --- what agents say

    def hear(self, agent: str, message: pb.AgentMessage) -> None:
        """It is all in the items."""

    def take(self, item: Item) -> None:
        if isinstance(item, Report | BarrierArrived) and item.agent in self._machine.excused:
            # Others do its work now, which is counted there.
            return
        if isinstance(item, LeaderTold):
            event = self._hearsay.take(item)
            if event is not None:
                self._told(item.by, event)
            self._streams.changed.set()
            return
        if isinstance(item, BarrierArrived):
            self._machine.arrived(item.agent, item.stage_index, time.monotonic())
        elif isinstance(item, StateChanged):
            self._state(item)
        self._journal.emit(item)
        if isinstance(item, ReleaseSeen) and item.stage_index not in self._opened:
            for made in made_again([item], self._plan.stages):
                if isinstance(made, BarrierReleased):
                    self._open(made)
                if not (isinstance(made, StageFinished) and made.stage_index in self._finished):
                    self._journal.emit(made)
            self._begin()
        self._streams.changed.set()

    def told_lead(self, agent: str, lead: Lead) -> None:
        before = self._leads.lead.by
        self._leads.tell(agent, lead)
        lead = self._leads.lead
        if before and lead.by and lead.by != before and self._wait is not None and self._wait[0] != lead.by:
            # It waits as long as it likes.
            self._wait = None
        self._journal.led(lead)

    def _told(self, by: str, event: Event) -> None:
        """What the leader has said."""
        if isinstance(event, RunFinished):
            # The last of what agents say is still to come.
            self._ending = event
            return
        if isinstance(event, BarrierWait):
            self._wait = (by, event)
            self._heed(event)
        elif isinstance(event, StageFinished):
            self._finished.add(event.stage_index)
        elif isinstance(event, StateChanged):
            self._state(event)
            self._journal.lost(event.agent, failed_there(event))
        elif isinstance(event, AbortRequested):
            self._journal.phase(Phase.ABORTING)
        self._journal.emit(event)

    def _heed(self, wait: BarrierWait) -> None:
        """Wait for whom the leader waits."""
        for agent in wait.excused:
            if agent in self._machine.agents:
                self._machine.excuse(agent)
        if self._machine.index == wait.stage_index:
            for agent in wait.without:
                self._machine.release_without(agent)

    def _state(self, item: StateChanged) -> None:
        link = self._streams.links.get(item.agent)
        if link is None:
            return
        link.state = item.state
        if item.state is AgentState.COMPLETED:
            self._machine.settled(item.agent)
        elif item.state is AgentState.RUNNING:
            # It may have been at a barrier, and been given what a lost agent has left.
            self._machine.takes_back(item.agent, time.monotonic())
        elif item.state is AgentState.EXCLUDED and item.stage_index == self._machine.index:
            self._machine.leave_behind(item.agent)
        elif item.state in (AgentState.FAILED, AgentState.LOST):
            if item.state is AgentState.LOST:
                self._taken_for_lost.add(item.agent)
            self._gone(item.agent, failed_there(item))
        elif item.state in (AgentState.ABORTING, AgentState.ABORTED):
            self._gone(item.agent, aborted_there(link, item.reason))

    def _gone(self, agent: str, failure: Failure) -> None:
        self._machine.gone(agent, failure)
        self._lead_without(agent)

    def _lead_without(self, agent: str) -> None:
        """Who leads, now that this agent tells nothing any more."""
        self._leads.lose(agent)
        lead = self._leads.lead
        if lead.since_ns:
            self._journal.led(lead)

    def _tell_loss(self, agent: str, failure: Failure) -> None:
        if agent not in self._machine.completed:
            self._journal.lost(agent, failure)
            self._journal.note(Level.WARNING, f"out of our sight: {failure.message}", agent=agent, code="viewer")
        self._streams.changed.set()

    # --- barriers

    def _open(self, opened: BarrierReleased) -> None:
        self._opened[opened.stage_index] = opened
        self._machine.opened(opened.stage_index, opened.arrived, opened.missing)

    def _begin(self) -> None:
        """Watch the first barrier that has not opened."""
        last = max(self._opened, default=None)
        index = 0 if last is None else last + 1
        stages = self._plan.resolved.stages
        if index > len(stages):
            return
        agents = tuple(self._streams.links) if last is None else self._opened[last].arrived
        policy, name, barrier = BarrierType.ALL_OR_NOTHING, "ready", Barrier()
        if index:
            stage = stages[index - 1]
            policy, name, barrier = stage.barrier.type, stage.name, stage.barrier
        rule = BarrierRule(policy, f"{index} ({name})", math.inf, loss_fails=False)
        self._machine.begin(index, rule, liveness_rule(barrier), agents, time.monotonic())
        self._machine.pause()
        if self._wait is not None:
            self._heed(self._wait[1])
