"""The coordinator in a live run: its orders go out to agents. What is left by one that is lost, has failed or is late
goes to the others, or is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace

from sai3tui.clock import now_ns
from sai3tui.config.model import BarrierType, Stage, StageType
from sai3tui.config.resolved import Resolved
from sai3tui.config.units import format_count
from sai3tui.controller.barriers import Barriers
from sai3tui.controller.coordinator import Coordinator, Order
from sai3tui.controller.handed import HandOver
from sai3tui.controller.heard import Records
from sai3tui.controller.loss import Loss, loss_of
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.events import Event, PutTwice, WorkHandedOver
from sai3tui.proto import sai3tui_pb2 as pb

logger = logging.getLogger(__name__)

Send = Callable[[str, pb.Assignment], Awaitable[None]]


_DONE = {StageType.PREPARE: "created", StageType.CLEANUP: "deleted", StageType.VERIFY: "verified"}


class StageWork:
    """Belongs to the session's loop. `send` gives an agent an assignment, `emit` tells the run log; `machine` hears who
    has got more to do, and for whom nobody is to wait any more.

    `fatal` is why the stage has failed although its barrier might be met. Orders wait in `outbox` until they are sent.
    """

    def __init__(
        self,
        resolved: Resolved,
        coordinator: Coordinator,
        machine: Barriers,
        send: Send,
        emit: Callable[[Event], None],
    ) -> None:
        self._resolved = resolved
        self._coordinator = coordinator
        self._machine = machine
        self._send = send
        self._emit = emit
        self.outbox: asyncio.Queue[list[Order]] = asyncio.Queue()
        self._stage: Stage | None = None
        self._index = 0
        self._agents: tuple[str, ...] = ()
        """Who takes part in the stage: neither lost nor left behind."""
        self._arrived: dict[tuple[int, str], int] = {}
        """The epoch that an agent had done when it arrived at a barrier."""
        self._replaced: set[tuple[int, str]] = set()
        """Stages and agents whose work in them is done by others, or was done before they were lost."""
        self._away: dict[str, Failure] = {}
        """Why agents have left the current stage."""
        self._twice: dict[str, int] = {}
        self._unheard: dict[str, list[pb.Assignment]] = {}
        """What agents were told and have not said that they heard: a stream that breaks may have swallowed it."""
        self._news = asyncio.Event()
        """An agent has said that it heard an order, or is not waited for any more."""
        self.fatal: Failure | None = None

    async def run(self) -> None:
        """Send what follows from what agents say, until cancelled."""
        while True:
            await self._deliver(await self.outbox.get())
            self.outbox.task_done()

    async def sent(self) -> None:
        """Until all orders so far have been sent."""
        await self.outbox.join()

    async def heard(self, within_s: float) -> None:
        """Until agents have said that they heard all orders so far, or the time is up: one may be silent."""
        try:
            async with asyncio.timeout(within_s):
                await self.outbox.join()
                while any(self._unheard.values()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            unheard = ", ".join(agent for agent, orders in self._unheard.items() if orders)
            logger.warning("nothing says that agents have heard their last orders: %s", unheard or "not yet sent")

    def take(self, agent: str, message: pb.AgentMessage) -> None:
        """Whatever an agent says."""
        orders = self._coordinator.take(agent, message)
        body = message.WhichOneof("body")
        if body == "arrived":
            self._arrived[message.arrived.stage_index, agent] = message.arrived.epoch
        elif body == "assigned":
            self._confirm(agent, message.assigned)
        self._order(orders)
        if self.replaced(self._index, agent):
            self._count_twice(agent)

    async def say_again(self, agent: str) -> None:
        """Its stream broke off and there is another one: what it may not have heard. Who has, takes no notice."""
        again = self._unheard.pop(agent, [])
        await self._deliver([(agent, order) for order in again])

    def _confirm(self, agent: str, assigned: pb.Assignment) -> None:
        told = (assigned.stage_index, assigned.epoch)
        left = [order for order in self._unheard.get(agent, ()) if (order.stage_index, order.epoch) != told]
        self._unheard[agent] = left
        self._news.set()

    # --- coming to a run in progress

    def replay(self, agent: str, message: pb.AgentMessage) -> None:
        """What an agent said before we came: whatever followed from it, another controller has ordered."""
        self._coordinator.take(agent, message)
        if message.WhichOneof("body") == "arrived":
            self._arrived[message.arrived.stage_index, agent] = message.arrived.epoch

    async def come(self, records: Records) -> None:
        """Before `resume`: what agents have on record of objects. Bounded."""
        await self._coordinator.come(records)

    def resume(self, opened: int | None, participants: Sequence[str], through: Collection[str]) -> bool:
        """All has been replayed; `opened` is the last barrier that opened, for these agents, of which those that are
        `through` have arrived at the next one. What they were told counts, and nothing is decided again. Returns
        whether all objects of the generation existed at that barrier."""
        stages = self._resolved.stages
        current = opened + 1 if opened is not None and opened < len(stages) else 0
        self._order(self._coordinator.resume(participants, through, current=current))
        if opened is None:
            return False
        if opened < len(stages):
            self._enter(opened + 1, stages[opened], participants)
        return self._coordinator.finish(opened)

    def through(self, index: int, agent: str) -> bool:
        """Whether an agent that is at a barrier has done all that it was given to do before it."""
        return self._coordinator.settled(index, agent, self._arrived.get((index, agent), 0))

    def replaced(self, index: int, agent: str) -> bool:
        """Whether what the agent does in stage `index` is counted elsewhere."""
        return (index, agent) in self._replaced

    def ready(self) -> None:
        """All agents are ready, and the first stage has not begun."""
        self._order(self._coordinator.ready())

    def begin(self, index: int, stage: Stage, agents: Sequence[str]) -> None:
        """A stage is about to begin with these agents."""
        self._enter(index, stage, agents)
        self._order(self._coordinator.begin(index, stage.type, agents))

    def _enter(self, index: int, stage: Stage, agents: Sequence[str]) -> None:
        self._index, self._stage, self._agents = index, stage, tuple(agents)
        self._away.clear()

    def _order(self, orders: list[Order]) -> None:
        if orders:
            self.outbox.put_nowait(orders)

    # --- who is not there any more

    def lose(self, agent: str, failure: Failure, now: float) -> None:
        """An agent is lost, or has failed, of which the machine knows. `now` is on its clock."""
        self._unheard.pop(agent, None)
        self._news.set()
        stage = self._stage
        if stage is None:
            return
        resolved = self._resolved
        policy = resolved.config.distributed.on_agent_loss
        loss = loss_of(stage.barrier.type, policy, stage.type, shared=resolved.shared, kind=failure.kind)
        took_part = self._remove(agent)
        if failure.kind is ErrorKind.CORRUPT:
            self.fatal = failure
        elif loss is Loss.FAIL or (took_part and not self._agents):
            self.fatal = self.fatal or failure
        if self.fatal is not None or not took_part:
            return
        if self.through(self._index, agent) and (self._index, agent) in self._arrived:
            # It has done its part of this stage, whatever has become of it since.
            self._excuse(agent)
            return
        self._hand_on(stage, agent, failure, now, hand_over=loss is Loss.HAND_OVER)
        if loss is Loss.HAND_OVER or stage.barrier.type is BarrierType.ALL_OR_NOTHING:
            self._excuse(agent)

    def leave_behind(self, agents: Iterable[str], now: float) -> None:
        """The others go on without agents that live, and are late; the machine knows. `now` is on its clock."""
        stage = self._stage
        # First of all of them: what one leaves is not for another one.
        late = [agent for agent in agents if self._remove(agent)]
        if stage is not None:
            for agent in late:
                self._leave(stage, agent, now)

    def _leave(self, stage: Stage, agent: str, now: float) -> None:
        resolved = self._resolved
        policy = resolved.config.distributed.on_agent_loss
        # That it is gone on without has been decided; of what it leaves the policy decides.
        loss = loss_of(BarrierType.BEST_EFFORT, policy, stage.type, shared=resolved.shared)
        text = f"agent {agent} was late at barrier {self._index} ({stage.name}) and was left behind"
        hint = "look at its log; if it is only slower than the others, raise agent_barrier_timeout"
        failure = Failure(ErrorKind.TIMEOUT, text, context=ErrorContext(agent=agent, stage=stage.name), hint=hint)
        handed = self._hand_on(stage, agent, failure, now, hand_over=loss is Loss.HAND_OVER)
        if handed.agents:
            self._replaced.add((self._index, agent))
        elif handed.objects and loss is Loss.FAIL:
            self.fatal = self.fatal or self._missing(stage)

    def _remove(self, agent: str) -> bool:
        """Whether the agent took part in the stage until now."""
        before = self._agents
        self._agents = tuple(each for each in before if each != agent)
        return len(self._agents) < len(before)

    def _excuse(self, agent: str) -> None:
        self._replaced.add((self._index, agent))
        self._machine.excuse(agent)

    def _hand_on(self, stage: Stage, agent: str, failure: Failure, now: float, *, hand_over: bool) -> HandOver:
        self._away[agent] = failure
        lost = self._machine.lost
        survivors = [each for each in self._agents if each not in lost]
        handed, orders = self._coordinator.lose(agent, survivors, hand_over=hand_over)
        if handed.objects:
            self._emit(WorkHandedOver(now_ns(), agent, self._index, handed.objects, handed.agents))
        self._order(orders)
        for name, _ in orders:
            self._machine.takes_back(name, now)
        return handed

    def finish(self, index: int) -> tuple[bool, Failure | None]:
        """The barrier after a stage opens: whether all objects of the generation exist, and why the stage has failed if
        something is left undone in it."""
        stage = self._stage
        missing = self._missing(stage) if stage is not None and index == self._index else None
        return self._coordinator.finish(index), missing

    def _missing(self, stage: Stage) -> Failure | None:
        """What nobody has done, by whom, and why."""
        undone = self._coordinator.undone()
        if not undone:
            return None
        first = self._away[next(iter(undone))]
        count, total = sum(undone.values()), self._coordinator.objects()
        of = f"of {format_count(total)} " if count <= total else ""
        shares = ", ".join(f"{format_count(left)} of {agent}" for agent, left in undone.items())
        return Failure(
            first.kind,
            f"stage {stage.name}: {format_count(count)} {of}objects were not {_DONE[stage.type]} ({shares})",
            tuple(self._away[agent].sentence() for agent in undone),
            replace(first.context, stage=stage.name),
            "the command in STATUS.txt goes on with them; on_agent_loss: redistribute has others do them at once, "
            "where all agents share the objects",
        )

    def over(self) -> None:
        """The run has ended."""
        self._coordinator.over()

    async def close(self) -> None:
        """Idempotent."""
        await self._coordinator.close()

    async def _deliver(self, orders: list[Order]) -> None:
        for agent, order in orders:
            self._unheard.setdefault(agent, []).append(order)
        results = await asyncio.gather(*(self._send(agent, order) for agent, order in orders), return_exceptions=True)
        for (agent, _), result in zip(orders, results, strict=True):
            if isinstance(result, Exception):
                # Its stream is broken; whoever reads it says why, and then the agent is lost or comes back.
                logger.debug("an assignment to agent %s: %r", agent, result)

    def _count_twice(self, agent: str) -> None:
        count = self._coordinator.twice.get(agent, 0)
        if count > self._twice.get(agent, 0):
            self._twice[agent] = count
            self._emit(PutTwice(now_ns(), agent, self._index, count))
