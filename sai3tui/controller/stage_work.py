"""The coordinator in a live run: its orders go out to agents, and what a lost agent leaves goes to the others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from sai3tui.config.model import BarrierType, Stage
from sai3tui.controller.coordinator import Coordinator, Order
from sai3tui.controller.heard import Records
from sai3tui.controller.loss import Loss, loss_of
from sai3tui.controller.planning import RunPlan
from sai3tui.errors import Failure
from sai3tui.events import Event, PutTwice, WorkHandedOver
from sai3tui.proto import sai3tui_pb2 as pb

logger = logging.getLogger(__name__)

Send = Callable[[str, pb.Assignment], Awaitable[None]]


class StageWork:
    """Belongs to the session's loop. `send` gives an agent an assignment, `emit` tells the run log.

    `excused` are lost agents that nobody waits for, because others do their work or it is to be done without them;
    `fatal` is why the stage has failed although its barrier might be met.
    """

    def __init__(self, plan: RunPlan, coordinator: Coordinator, send: Send, emit: Callable[[Event], None]) -> None:
        self._resolved = plan.resolved
        self._coordinator = coordinator
        self._send = send
        self._emit = emit
        self._outbox: asyncio.Queue[list[Order]] = asyncio.Queue()
        self._stage: Stage | None = None
        self._index = 0
        self._arrived: dict[tuple[int, str], int] = {}
        """The epoch that an agent had done when it arrived at a barrier."""
        self._twice: dict[str, int] = {}
        self._unheard: dict[str, list[pb.Assignment]] = {}
        """What agents were told and have not said that they heard: a stream that breaks may have swallowed it."""
        self.excused: set[str] = set()
        self.fatal: Failure | None = None

    async def run(self) -> None:
        """Send what follows from what agents say, until cancelled."""
        while True:
            await self._deliver(await self._outbox.get())

    def take(self, agent: str, message: pb.AgentMessage) -> None:
        """Whatever an agent says."""
        orders = self._coordinator.take(agent, message)
        body = message.WhichOneof("body")
        if body == "arrived":
            self._arrived[message.arrived.stage_index, agent] = message.arrived.epoch
        elif body == "assigned":
            self._heard(agent, message.assigned)
        if orders:
            self._outbox.put_nowait(orders)
        if agent in self.excused:
            self._count_twice(agent)

    async def say_again(self, agent: str) -> None:
        """Its stream broke off and there is another one: what it may not have heard. Who has, takes no notice."""
        again = self._unheard.pop(agent, [])
        await self._deliver([(agent, order) for order in again])

    def _heard(self, agent: str, assigned: pb.Assignment) -> None:
        told = (assigned.stage_index, assigned.epoch)
        left = [order for order in self._unheard.get(agent, ()) if (order.stage_index, order.epoch) != told]
        self._unheard[agent] = left

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
        orders = self._coordinator.resume(participants, through)
        if orders:
            self._outbox.put_nowait(orders)
        stages = self._resolved.stages
        if opened is None:
            return False
        if opened < len(stages):
            self._index, self._stage = opened + 1, stages[opened]
        return self._coordinator.finish(opened)

    def through(self, index: int, agent: str) -> bool:
        """Whether an agent that is at a barrier has done all that it was given to do before it."""
        return self._coordinator.settled(index, agent, self._arrived.get((index, agent), 0))

    async def ready(self) -> None:
        """All agents are ready, and the first stage has not begun."""
        await self._deliver(self._coordinator.ready())

    async def begin(self, index: int, stage: Stage, agents: Sequence[str]) -> None:
        """A stage is about to begin with these agents."""
        self._index, self._stage = index, stage
        await self._deliver(self._coordinator.begin(index, stage.type, agents))

    def lose(self, agent: str, failure: Failure, survivors: Sequence[str]) -> tuple[str, ...]:
        """An agent is lost. Returns who has been given some of its work, and is no longer through."""
        self._unheard.pop(agent, None)
        stage = self._stage
        if stage is None:
            return ()
        resolved = self._resolved
        policy = resolved.config.distributed.on_agent_loss
        loss = loss_of(stage.barrier.type, policy, stage.type, shared=resolved.shared)
        if loss is Loss.FAIL or not survivors:
            self.fatal = self.fatal or failure
            return ()
        if self.through(self._index, agent) and (self._index, agent) in self._arrived:
            # It has done its part of this stage, whatever has become of it since.
            self.excused.add(agent)
            return ()
        handed, orders = self._coordinator.lose(agent, survivors if loss is Loss.HAND_OVER else ())
        if loss is Loss.HAND_OVER or stage.barrier.type is BarrierType.ALL_OR_NOTHING:
            self.excused.add(agent)
        if handed.objects:
            told = WorkHandedOver(time.time_ns(), agent, self._index, handed.objects, tuple(handed.to))
            self._emit(told)
        if orders:
            self._outbox.put_nowait(orders)
        return tuple(name for name, _ in orders)

    def finish(self, index: int) -> bool:
        """The barrier after a stage opens: whether all objects of the generation exist."""
        return self._coordinator.finish(index)

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
            self._emit(PutTwice(time.time_ns(), agent, self._index, count))
